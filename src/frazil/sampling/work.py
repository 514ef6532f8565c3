"""Batches of samples, written as they are done, in this process or in workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from frazil.core.console import progress_bar
from frazil.core.errors import RequestError
from frazil.core.executor import executor
from frazil.core.memory import keep_freed_memory
from frazil.model.devices import bytes_per_box, memory_of
from frazil.sampling.folder import sample_log, write_samples
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.manifest import MANIFEST_FILE, Sample, SampleEntry, SampleManifest, SampleRequest

_FROM_CARD = {"provenance", "labels", "box_size_voxel", "tilt_range_degrees", "normalisation", "training_data_digest"}
_OF_THE_TOMOGRAM = "from the tomogram's median in units of its spread, particles dark"


@dataclass(frozen=True)
class Job:
    """What a worker needs to know to sample a batch and write it into the folder `out`."""

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
    job: Job,
    batches: Iterable[Sequence[Sample]],
    on_step: Callable[[int], None] | None = None,
) -> Generator[list[SampleEntry]]:
    """Sample batches and write them as they are done."""
    if generator.device.type == "cpu":
        per_box = bytes_per_box(generator.card.preset.model, generator.box_size_voxel, job.request.precision)
        keep_freed_memory(min(job.request.batch_size, len(job.request)) * per_box, memory_of(generator.device))
    with closing(generator.run(job.request, batches, on_step=on_step)) as parts:
        for samples in parts:
            yield write_samples(job.out, job.request, samples, generator.labels)


def _spread(
    job: Job, batches: Iterable[Sequence[Sample]], workers: int, dask: str | None
) -> Generator[list[SampleEntry]]:
    """Let workers sample batches and write them."""
    with executor(workers=workers, dask=dask) as pool:
        yield from (entries for _, entries in pool.run(job.work, batches))


def sample_missing(
    generator: ParticleGenerator, job: Job, finished: Mapping[int, SampleEntry], *, workers: int, dask: str | None
) -> SampleManifest:
    """Sample what is missing, in this process or in workers, and return the complete manifest, not yet written.

    Samples that neither manifest nor log names after a kill are computed again, to the same bytes.
    """
    entries = dict(finished)
    total = sum(map(len, job.request.batches(finished)))
    alone = workers == 1 and dask is None
    bar = progress_bar()
    bar.disable |= not total
    batches = job.request.batches(finished)
    task = bar.add_task("steps" if alone else "samples", total=total * (job.request.steps or 1) if alone else total)
    here = _write(generator, job, batches, lambda count: bar.advance(task, count))
    with (
        bar,
        sample_log(job.out) as note,
        closing(here if alone else _spread(job, batches, workers, dask)) as made,
    ):
        try:
            for some in made:
                note(some)
                entries |= {entry.index: entry for entry in some}
                if not alone:
                    bar.advance(task, len(some))
        except BaseException:  # also after Ctrl-C what is there can be read
            _manifest(generator, job, entries, complete=False).write(job.out / MANIFEST_FILE)
            raise
    return _manifest(generator, job, entries, complete=True)


def _manifest(
    generator: ParticleGenerator, job: Job, entries: Mapping[int, SampleEntry], *, complete: bool
) -> SampleManifest:
    card, center = generator.card, generator.box_size_voxel // 2
    return SampleManifest(
        complete=complete,
        bundle=job.bundle.resolve().name,
        bundle_digest=generator.digest,
        voxel_size_angstrom=generator.voxel_size_angstrom,
        training_moments=card.moments,
        particle_centre_voxel=(center, center, center),
        precision=job.request.precision,
        memory_format=job.request.memory_format,
        samples=tuple(entries[index] for index in sorted(entries)),
        **({"grey_values": _OF_THE_TOMOGRAM} if card.normalisation == "tomogram" else {}),
        **card.model_dump(include=_FROM_CARD),
    )
