"""`frazil sample`: a bundle and a request in; MRC volumes, a manifest, copick picks and a RELION STAR file out."""

from __future__ import annotations

import math
import multiprocessing
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

from frazil.core.allocator import keep_freed_memory
from frazil.core.console import progress_bar, say, say_written, warn
from frazil.core.errors import OutputError, RequestError
from frazil.core.executor import executor
from frazil.core.files import output_errors
from frazil.core.settings import MemoryFormatChoice, NoiseInterval, PrecisionChoice, SamplerName
from frazil.io.copick.project import CONFIG_NAME
from frazil.model.bundle import PRETRAINED, bundle_folder
from frazil.model.devices import bytes_per_box, memory_of
from frazil.sampling.folder import (
    PARTICLES,
    VOLUMES,
    SampleFolder,
    SampleOutput,
    write_copick,
    write_relion,
    write_samples,
)
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.manifest import (
    MANIFEST_FILE,
    REQUEST_FILE,
    Sample,
    SampleEntry,
    SampleManifest,
    SampleRequest,
    request_differences,
)
from frazil.sampling.options import SamplingOptions
from frazil.sampling.request import CENTER, Position, Request, expand_labels, read_requests, take

MANIFEST_SECONDS = 5.0
"""The manifest names every sample, so it is not written after every batch: a kill costs this much work at most."""


def sample(
    bundle: str | Path = PRETRAINED,
    *,
    out: str | Path,
    label: str | Sequence[str] = (),
    position: Position | None = None,
    count: int | None = None,
    requests: str | Path | Sequence[Request] | None = None,
    first: int | None = None,
    seed: int = 0,
    sampler: SamplerName | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    guidance_interval: NoiseInterval | None = None,
    batch_size: int | None = None,
    precision: PrecisionChoice | None = None,
    memory_format: MemoryFormatChoice | None = None,
    device: str = "auto",
    workers: int = 1,
    dask: str | None = None,
    voxel_size_angstrom: float | None = None,
    copick: bool = True,
    force: bool = False,
) -> SampleFolder:
    """Sample labelled volumes into a folder, or resume where an earlier call was interrupted.

    Parameters
    ----------
    bundle : folder that `frazil train` or `frazil import-weights` wrote: the bundle, or the run folder that holds it; or
        ``pretrained``, the bundled model.
    out : folder for `volumes/*.mrc`, `manifest.json`, `particles.star` and the copick project `copick.json`.
    label : class to sample, or several; ``all`` stands for every class of the bundle.
    position : **z, y, x** of the particle in its tomogram, divided by the tomogram's extent; None is the center.
    count : samples of each label; None is 1.
    requests : CSV with the columns label, x, y, z, count, or a list of `Request`, instead of the three above.
    first : sample only a part of a larger request, as one job of an array: of one label, or of the table in `requests`, the
        `count` samples from number `first` on. They go to the folder ``part-FIRST`` in `out` and have the same bytes as in
        one call for all, which gathers the parts when it is run on the same `out`, and samples what is missing.
    seed : sample i depends on the seed and i alone.
    sampler, steps, guidance, guidance_interval, batch_size, precision, memory_format : see `SamplingOptions`; None takes what
        the bundle suggests or what suits the device.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:1``; with several workers, ``cuda`` gives each a GPU in turn.
    workers, dask : processes on this machine, or the address of a Dask cluster; see `frazil.core.executor`.
    voxel_size_angstrom : only for a bundle that does not know it (imported weights).
    copick : also write the samples as a copick project.
    force : replace the samples of another request, or of one that is damaged; those of the same request stay.

    Raises
    ------
    BundleError : not a bundle, damaged, or of a newer schema.
    RequestError : anything in the request that cannot be served.
    OutputError : `out` holds other samples, damaged ones or something else, or cannot be written.
    WorkerError : see `frazil.core.executor.executor`.
    """
    options = SamplingOptions(
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        guidance_interval=guidance_interval,
        batch_size=batch_size,
        precision=precision,
        memory_format=memory_format,
    )
    folder = bundle_folder(Path(bundle))
    generator = ParticleGenerator.from_bundle(folder, device=device, voxel_size_angstrom=voxel_size_angstrom)
    if folder != Path(bundle) and str(bundle) == PRETRAINED:
        say(f"{PRETRAINED}: {generator.card.provenance}")
    if math.isnan(generator.voxel_size_angstrom):
        raise RequestError(
            f"{bundle}: the bundle does not know its voxel size (imported weights); give the voxel size in angstrom"
        )
    asked = expand_labels(_asked(label, position, count, requests, first), generator.labels)
    output = SampleOutput(Path(out) if first is None else Path(out) / f"part-{first:07d}")
    request = _plan(output, generator, asked, seed, first or 0, workers, options)
    earlier = output.earlier(request, force=force, compare=request_differences)
    job = _Job(folder.absolute(), device, voxel_size_angstrom, request, output.path)
    with output.held():
        if earlier is None or (force and output.is_damaged()):
            output.start(request)
        if first is None:
            _gather(output, request)
        finished = output.finished()
        if len(finished) == len(request) and output.is_complete(request, copick=copick):
            say(f"{output.path}: all {len(request)} samples already exist; nothing to do")
            return SampleFolder.open(output.path)
        if 0 < len(finished) < len(request):
            say(f"{output.path}: {len(finished)} of {len(request)} samples already exist; resuming")
        manifest = _manifest(
            generator, job, _sample(generator, job, finished, workers=workers, dask=dask), complete=True
        )
        write_relion(output.path, manifest)
        if copick:
            write_copick(output.path, manifest, radius_angstrom=generator.card.radius_angstrom)
        manifest.write(output.path / MANIFEST_FILE)
    _report(output.path, manifest, copick=copick)
    return SampleFolder(output.path, manifest)


def _asked(
    label: str | Sequence[str],
    position: Position | None,
    count: int | None,
    requests: str | Path | Sequence[Request] | None,
    first: int | None,
) -> list[Request]:
    """Return what is asked for: labels that share a position and a count, or a table; of the table, a part."""
    if requests is None:
        labels = [label] if isinstance(label, str) else list(label)
        if first is not None and (len(labels) != 1 or labels == ["all"]):
            raise RequestError(
                f"first {first}: samples of several labels are numbered one label after the other; name one label, or give a "
                "table of requests"
            )
        place = CENTER if position is None else position
        return [Request(label=name, position=place, count=1 if count is None else count) for name in labels]
    listed = read_requests(requests) if isinstance(requests, str | Path) else list(requests)
    name = f"requests {requests}" if isinstance(requests, str | Path) else "requests"
    if label or position is not None or (count is not None and first is None):
        raise RequestError(f"{name}: leave out label, position and count, which are in it")
    if first is None:
        return listed
    if any(request.label == "all" for request in listed):
        raise RequestError(
            f"{name}: name every class for a part of it; 'all' has no number of samples before the bundle is read"
        )
    return take(listed, first, 1 if count is None else count)


@dataclass(frozen=True)
class _Job:
    """What a worker needs to know.

    Parameters
    ----------
    bundle, device, voxel_size_angstrom : see `ParticleGenerator`.
    out : folder of samples.
    """

    bundle: Path
    device: str
    voxel_size_angstrom: float | None
    request: SampleRequest
    out: Path

    def work(self, batch: Sequence[Sample]) -> list[SampleEntry]:
        """Sample and write one batch, in a worker."""
        generator = _opened(self.bundle, self.device, self.voxel_size_angstrom, self.request.bundle_digest)
        return [entry for some in _write(generator, self, [batch]) for entry in some]


@lru_cache(maxsize=1)
def _opened(bundle: Path, device: str, voxel_size_angstrom: float | None, digest: str) -> ParticleGenerator:
    """Open a bundle, once for all batches of a worker; the worker takes one of the GPUs, where there are any."""
    if device in ("auto", "cuda") and torch.cuda.is_available():
        identity = multiprocessing.current_process()._identity or (1,)
        device = f"cuda:{(identity[-1] - 1) % torch.cuda.device_count()}"
    generator = ParticleGenerator.from_bundle(bundle, device=device, voxel_size_angstrom=voxel_size_angstrom)
    if generator.digest != digest:
        raise RequestError(f"{bundle}: changed since the sampling began; rerun the command")
    return generator


def _write(
    generator: ParticleGenerator,
    job: _Job,
    batches: Sequence[Sequence[Sample]],
    on_step: Callable[[int], None] | None = None,
) -> Generator[list[SampleEntry]]:
    """Sample batches and write them as they are done."""
    if generator.device.type == "cpu":
        per_box = bytes_per_box(generator.card.preset.model, generator.box_size_voxel, job.request.precision)
        keep_freed_memory(min(job.request.batch_size, len(job.request)) * per_box, memory_of(generator.device))
    with closing(generator.run(job.request, batches, on_step=on_step)) as parts:
        for samples in parts:
            yield write_samples(job.out, job.request, samples)


def _spread(
    job: _Job, batches: Sequence[Sequence[Sample]], workers: int, dask: str | None
) -> Generator[list[SampleEntry]]:
    """Let workers sample batches and write them."""
    with executor(workers=workers, dask=dask) as pool:
        for _, entries in pool.run(job.work, batches):
            yield entries


def _plan(
    folder: SampleOutput,
    generator: ParticleGenerator,
    requests: Sequence[Request],
    seed: int,
    first: int,
    workers: int,
    options: SamplingOptions,
) -> SampleRequest:
    """Complete the request; what is left to a probe or to the device stays as an earlier call in the folder decided it."""
    plan = partial(generator.plan, requests, seed=seed, first=first, workers=workers, **options)
    with suppress(OutputError):  # absent or damaged, which is looked at later
        earlier = SampleRequest.read(folder.record_path, OutputError)
        resumed = plan(earlier=earlier)
        if not request_differences(earlier, resumed):
            return resumed
    planned = plan()
    if generator.probed is not None:
        say(str(generator.probed))
    return planned


def _gather(out: SampleOutput, request: SampleRequest) -> None:
    """Take over what calls for parts of this request have sampled."""
    wanted = {index: (label, position) for index, label, position in request.samples()}
    entries, gathered, manifest = out.named(), [], None
    for path in sorted(out.path.glob("part-*")):
        if not (path / MANIFEST_FILE).exists():
            continue
        part = SampleRequest.read(path / REQUEST_FILE, OutputError)
        manifest = SampleManifest.read(path / MANIFEST_FILE, OutputError)
        whole = part.model_copy(update={"requests": request.requests, "first": 0})
        if request_differences(whole, request) or any(
            wanted.get(entry.index) != (entry.label, entry.position) for entry in manifest.samples
        ):
            warn(f"{path}: not a part of this request, left alone")
            continue
        with output_errors(out.path):
            (out.path / VOLUMES).mkdir(exist_ok=True)
            for entry in manifest.samples:
                if (path / entry.file).exists():
                    (path / entry.file).replace(out.path / entry.file)
        entries |= {entry.index: entry for entry in manifest.samples}
        gathered.append(path)
    if gathered and manifest is not None:
        whole_manifest = {"complete": False, "samples": tuple(entries[index] for index in sorted(entries))}
        manifest.model_copy(update=whole_manifest).write(out.path / MANIFEST_FILE)
        with output_errors(out.path):
            for path in gathered:
                shutil.rmtree(path)
        say(f"{out.path}: gathered {len(gathered)} parts")


def _sample(
    generator: ParticleGenerator, job: _Job, finished: Mapping[int, SampleEntry], *, workers: int, dask: str | None
) -> dict[int, SampleEntry]:
    """Sample what is missing. Samples that no manifest names yet after a kill are computed again, to the same bytes."""
    entries = dict(finished)
    batches = job.request.batches(finished)
    named, written = len(entries), time.monotonic()

    def write_manifest() -> None:
        nonlocal named, written
        _manifest(generator, job, entries, complete=False).write(job.out / MANIFEST_FILE)
        named, written = len(entries), time.monotonic()

    alone = workers == 1 and dask is None
    bar = progress_bar()
    bar.disable = not batches
    total = sum(map(len, batches))
    task = bar.add_task("steps" if alone else "samples", total=total * (job.request.steps or 1) if alone else total)
    here = _write(generator, job, batches, lambda count: bar.advance(task, count))
    with bar, closing(here if alone else _spread(job, batches, workers, dask)) as made:
        try:
            for some in made:
                entries |= {entry.index: entry for entry in some}
                if not alone:
                    bar.advance(task, len(some))
                if time.monotonic() - written >= MANIFEST_SECONDS:
                    write_manifest()
        finally:  # Ctrl-C and errors lose nothing
            if len(entries) > named:
                write_manifest()
    return entries


def _manifest(
    generator: ParticleGenerator, job: _Job, entries: Mapping[int, SampleEntry], *, complete: bool
) -> SampleManifest:
    card, center = generator.card, generator.box_size_voxel // 2
    return SampleManifest(
        complete=complete,
        bundle=job.bundle.resolve().name,
        bundle_digest=generator.digest,
        provenance=card.provenance,
        labels=generator.labels,
        voxel_size_angstrom=generator.voxel_size_angstrom,
        box_size_voxel=generator.box_size_voxel,
        tilt_range_degrees=card.tilt_range_degrees,
        normalisation=card.normalisation,
        training_data_digest=card.training_data_digest,
        training_moments=card.moments,
        particle_centre_voxel=(center, center, center),
        precision=job.request.precision,
        memory_format=job.request.memory_format,
        samples=tuple(entries[index] for index in sorted(entries)),
    )


def _report(out: Path, manifest: SampleManifest, *, copick: bool) -> None:
    labels = [entry.label for entry in manifest.samples]
    voxel_size = f"{manifest.voxel_size_angstrom:.3f} A"
    say(f"{len(labels)} samples of {manifest.box_size_voxel}^3 voxels at {voxel_size}, z-scored grey values")
    for label in dict.fromkeys(labels):
        say(f"  {labels.count(label):5d} {label}")
    for name, what in [
        (VOLUMES, "MRC"),
        (MANIFEST_FILE, "label, position, seed, sampler, moments of every volume"),
        (PARTICLES, "RELION 5 particles"),
        (CONFIG_NAME, "copick project: tomograms and picks"),
    ]:
        if copick or name != CONFIG_NAME:
            say_written(out / name, what)
