"""`frazil sample`: a bundle and a request in; MRC volumes, a manifest, copick picks and a RELION STAR file out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Unpack

from frazil.core.console import say, say_written
from frazil.core.errors import OutputError, RequestError
from frazil.io.copick.project import CONFIG_NAME
from frazil.model.bundle import PRETRAINED, bundle_folder
from frazil.sampling.folder import PARTICLES, VOLUMES, SampleFolder, SampleOutput, write_copick, write_relion
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.manifest import MANIFEST_FILE, SampleManifest, SampleRequest, request_differences
from frazil.sampling.options import SamplingOptions
from frazil.sampling.request import Position, Request, expand
from frazil.sampling.work import Job, sample_missing


def sample(
    bundle: str | Path = PRETRAINED,
    *,
    out: str | Path,
    label: str | Sequence[str] = (),
    position: Position | None = None,
    count: int | None = None,
    requests: str | Path | Sequence[Request] | None = None,
    first: int | None = None,
    neighbours: str | Path = "none",
    seed: int = 0,
    device: str = "auto",
    workers: int = 1,
    dask: str | None = None,
    voxel_size_angstrom: float | None = None,
    copick: bool = True,
    force: bool = False,
    **options: Unpack[SamplingOptions],
) -> SampleFolder:
    """Sample labeled volumes into a folder, or resume where an earlier call was interrupted.

    Parameters
    ----------
    bundle : folder that `frazil train` or `frazil import-weights` wrote: the bundle, or the run folder that holds it; or
        ``pretrained``, the bundled model.
    out : folder for `volumes/*.mrc`, `manifest.json`, `particles.star` and the copick project `copick.json`.
    label : class to sample, or several; ``all`` stands for every class of the bundle.
    position : **z, y, x** of the particle in its tomogram, divided by the tomogram's extent; None is the center.
    count : samples of each label; None is 1. For one label it may be raised later: what is there stays.
    requests : CSV with the columns label, x, y, z, count, or a list of `Request`, instead of the three above.
    first : sample only a part of a larger request, as one job of an array: of one label, or of the table in `requests`, the
        `count` samples from number `first` on. They go to the folder ``part-FIRST`` in `out` and have the same bytes as in
        one call for all, which gathers the parts when it is run on the same `out`, and samples what is missing.
    neighbours : what is around the particle, for a bundle that was trained on whole tomograms: see `ParticleGenerator.plan`. All are
        in the manifest and in copick's picks.
    seed : sample i depends on the seed and i alone.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:1``; with several workers, ``cuda`` gives each a GPU in turn.
    workers, dask : processes on this machine, or the address of a Dask cluster; see `frazil.core.executor`.
    voxel_size_angstrom : only for a bundle that does not know it (imported weights).
    copick : also write the samples as a copick project.
    force : replace the samples of another request, or of one that is damaged; those of the same request stay.
    **options : sampler, steps, guidance, guidance_interval, batch_size, precision: see `SamplingOptions`.

    Raises
    ------
    BundleError : not a bundle, damaged, or of a newer schema.
    RequestError, PickError : anything in the request that cannot be served.
    OutputError : `out` holds other samples, damaged ones or something else, or cannot be written.
    WorkerError : see `frazil.core.executor.executor`.
    """
    folder = bundle_folder(Path(bundle))
    generator = ParticleGenerator.from_bundle(folder, device=device, voxel_size_angstrom=voxel_size_angstrom)
    if folder != Path(bundle) and str(bundle) == PRETRAINED:
        say(f"{PRETRAINED}: {generator.card.provenance}")
    if math.isnan(generator.voxel_size_angstrom):
        raise RequestError(
            f"{bundle}: the bundle does not know its voxel size (imported weights); give the voxel size in angstrom"
        )
    asked = expand(label, position, count, requests, first=first, known=generator.labels)
    output = SampleOutput.at(Path(out) if first is None else Path(out) / f"part-{first:07d}")
    plan = partial(
        generator.plan, asked, seed=seed, first=first or 0, workers=workers, neighbours=neighbours, **options
    )
    request = plan()
    for place in (output, output.replacement):
        with suppress(OutputError):  # absent or damaged, which is looked at later
            before = SampleRequest.read(place.record_path, OutputError)
            resumed = plan(earlier=before)  # what is left to the device stays as it was
            if not request_differences(before, resumed):
                request = resumed
                break
    with output.held():
        damaged = output.is_damaged()
        work, earlier = output.begin(request, force=force, again=damaged, compare=request_differences)
        if earlier is not None and earlier.requests != request.requests:  # more of them
            request.write(work.record_path)
        if first is None:
            work.gather(request)
        finished = work.finished()
        complete = len(finished) == len(request) and work.is_complete(copick=copick)
        if complete and work is output:
            say(f"{output.path}: all {len(request)} samples already exist; nothing to do")
            return SampleFolder.open(output.path)
        if 0 < len(finished) < len(request):
            say(f"{output.path}: {len(finished)} of {len(request)} samples already exist; resuming")
        job = Job(folder.absolute(), device, voxel_size_angstrom, request, work.path)
        manifest = sample_missing(generator, job, finished, workers=workers, dask=dask)
        write_relion(work.path, manifest)
        if copick:
            write_copick(work.path, manifest, radius_angstrom=generator.card.radius_angstrom, painter=generator.painter)
        work.write(manifest)
        work.finish()
    _report(output.path, manifest, copick=copick)
    return SampleFolder(output.path, manifest)


def _report(out: Path, manifest: SampleManifest, *, copick: bool) -> None:
    labels = [entry.label for entry in manifest.samples]
    voxel_size = f"{manifest.voxel_size_angstrom:.3f} A"
    say(
        f"{len(labels)} samples of {manifest.box_size_voxel}^3 voxels at {voxel_size}, gray values {manifest.grey_values}"
    )
    for label in dict.fromkeys(labels):
        say(f"  {labels.count(label):5d} {label}")
    say_written(out / VOLUMES, "MRC")
    say_written(out / MANIFEST_FILE, "label, position, seed, sampler, moments of every volume")
    say_written(out / PARTICLES, "RELION 5 particles")
    if copick:
        say_written(out / CONFIG_NAME, "copick project: tomograms and picks")
