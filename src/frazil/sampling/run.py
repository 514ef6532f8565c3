"""`frazil sample`: a bundle and a request in; MRC volumes, a manifest, copick picks and a RELION STAR file out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from frazil.core.allocator import keep_freed_memory
from frazil.core.console import progress_bar, say, say_written
from frazil.core.errors import OutputError, RequestError
from frazil.core.files import make_folder
from frazil.io.copick.project import CONFIG_NAME
from frazil.model.bundle import PRETRAINED, bundle_folder
from frazil.model.devices import bytes_per_box, memory_of
from frazil.sampling.folder import (
    PARTICLES,
    VOLUMES,
    damaged_record,
    finished_samples,
    is_complete,
    named_samples,
    parts,
    read_request,
    remove_samples,
    write_copick,
    write_relion,
    write_sample,
)
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.manifest import (
    MANIFEST_FILE,
    REQUEST_FILE,
    SampleEntry,
    SampleManifest,
    SampleRequest,
    manifest_file,
    read_record,
    write_record,
)
from frazil.sampling.plan import SamplePlan
from frazil.sampling.processes import Team, team
from frazil.sampling.request import SampleOptions, describe_request, expand_labels, plan_samples
from frazil.sampling.table import Request

MANIFEST_SECONDS = 5.0
"""The manifest names every sample, so it is not written after every batch: a kill costs so much work at most."""


@dataclass(frozen=True)
class _Job:
    """What the processes agree on before they start.

    Parameters
    ----------
    plan : the samples.
    finished : indices of those that are there.
    """

    plan: SamplePlan
    finished: frozenset[int]


def sample(
    bundle: Path,
    out: Path,
    requests: Sequence[Request] | None = None,
    *,
    options: SampleOptions | None = None,
    copick: bool = True,
    force: bool = False,
) -> SampleManifest:
    """Sample what `requests` asks for into `out`, or go on where an earlier call was interrupted.

    Parameters
    ----------
    bundle : folder that `frazil train` or `frazil import-weights` wrote: the bundle, or the run folder that holds it; or
        ``pretrained``, the model that frazil brings along.
    out : folder for `volumes/*.mrc`, `manifest.json`, `particles.star` and the copick project `copick.json`.
    requests : what to sample; the label ``all`` stands for every class of the bundle.
    copick : also write the samples as a copick project.
    force : replace the samples of another request, or of one that is damaged; those of the same request stay.

    Raises
    ------
    BundleError : no bundle, damaged, or of a newer schema.
    RequestError : anything in the request that cannot be served.
    OutputError : `out` holds other samples, damaged ones or something else, or cannot be written.
    """
    options = options or SampleOptions()
    brought_along = bundle_folder(bundle) != bundle and str(bundle) == PRETRAINED
    bundle = bundle_folder(bundle)
    with team(device=options.device, devices=options.devices, num_nodes=options.num_nodes) as workers:
        generator = ParticleGenerator.from_bundle(
            bundle, device=workers.device, voxel_size_angstrom=options.voxel_size_angstrom
        )
        if brought_along and workers.is_first:
            say(f"{PRETRAINED}: {generator.card.provenance}")
        if math.isnan(generator.voxel_size_angstrom):
            raise RequestError(
                f"{bundle}: the bundle does not know its voxel size (imported weights); pass --voxel-size, in angstrom"
            )
        wanted = expand_labels(requests or [], generator.labels)
        job = workers.prepared(
            lambda: _prepare(out, bundle, generator, wanted, options, workers, copick=copick, force=force)
        )
        if job is None:
            return read_record(out / MANIFEST_FILE, SampleManifest, OutputError)
        _keep_memory(generator, job.plan, processes=workers.devices)
        share = workers.together(lambda: _sample(out, bundle, generator, job, workers))
        return _finish(out, bundle, generator, job.plan, copick=copick) if workers.is_first else share


def _keep_memory(generator: ParticleGenerator, plan: SamplePlan, *, processes: int) -> None:
    if all(device.type == "cpu" for device in generator.devices):
        per_box = bytes_per_box(generator.card.preset.model, generator.box_size_voxel, plan.precision)
        has = memory_of(generator.devices[0], processes * len(generator.devices))
        keep_freed_memory(min(plan.batch_size, len(plan)) * per_box, has)


def _prepare(
    out: Path,
    bundle: Path,
    generator: ParticleGenerator,
    requests: Sequence[Request],
    options: SampleOptions,
    workers: Team,
    *,
    copick: bool,
    force: bool,
) -> _Job | None:
    """Write the request, or check that it is that of an earlier call; find out what that one left to do, None if nothing."""
    there = read_request(out)
    plan = plan_samples(generator, requests, options, there, processes=workers.devices)
    if options.batch_size is None and there is not None and not there.differences(describe_request(generator, plan)):
        plan = replace(plan, batch_size=there.batch_size)  # off the CPU, only the same batches end with the same bits
    _begin(out, there, describe_request(generator, plan), force=force)
    entries = finished_samples(out)
    if len(entries) == len(plan) and is_complete(out, plan, copick=copick):
        say(f"{out}: all {len(plan)} samples are there already; nothing to do")
        return None
    if 0 < len(entries) < len(plan):
        say(f"{out}: {len(entries)} of {len(plan)} samples are there already; going on")
    if parts(out):  # those of this call would overwrite them
        _gather_parts(out, _manifest(bundle, generator, plan, entries, complete=False))
    return _Job(plan, frozenset(entries))


def _finish(out: Path, bundle: Path, generator: ParticleGenerator, plan: SamplePlan, *, copick: bool) -> SampleManifest:
    """Write what follows from the volumes when all are there."""
    manifest = _manifest(bundle, generator, plan, named_samples(out), complete=True)
    write_relion(out, manifest)
    if copick:
        write_copick(out, manifest, radius_angstrom=generator.card.radius_angstrom)
    _gather_parts(out, manifest)
    _report(out, manifest, copick=copick)
    return manifest


def _gather_parts(out: Path, manifest: SampleManifest) -> None:
    """Write the manifest, which now also names what the further processes of this call or an earlier one made."""
    write_record(out / MANIFEST_FILE, manifest)
    for path in parts(out):
        path.unlink()


def _begin(out: Path, there: SampleRequest | None, wanted: SampleRequest, *, force: bool) -> None:
    """Write what is asked for, or check that it is what an earlier call in `out` was asked for."""
    damaged = damaged_record(out)
    different = there.differences(wanted) if there is not None else []
    if (damaged or different) and not force:
        other = f"{out}: holds samples of another request ({'; '.join(different)})"
        fault = f"{damaged}: damaged" if damaged else other
        raise OutputError(f"{fault}; choose another folder, or pass --force to replace the samples")
    if damaged or different:
        remove_samples(out, there)
    make_folder(out)
    if there != wanted:
        write_record(out / REQUEST_FILE, wanted)


def _sample(out: Path, bundle: Path, generator: ParticleGenerator, job: _Job, workers: Team) -> SampleManifest:
    """Sample this process's share of what is missing; after every batch its volumes are in place.

    Those that no manifest names yet when the process is killed are computed again, to the same bytes.
    """
    path = out / manifest_file(workers.rank)
    before = named_samples(out) if workers.is_first else {}
    entries = {index: entry for index, entry in before.items() if index in job.finished}
    batches = job.plan.batches(job.finished, rank=workers.rank, size=workers.size)
    named, written = len(entries), time.monotonic()

    def write_manifest() -> None:
        nonlocal named, written
        write_record(path, manifest())
        named, written = len(entries), time.monotonic()

    def manifest() -> SampleManifest:
        return _manifest(bundle, generator, job.plan, entries, complete=False)

    def step(count: int) -> None:
        workers.check_parent()
        bar.advance(task, count)

    bar = progress_bar()
    bar.disable = not (workers.is_first and batches)
    with bar:
        what = "steps" if workers.size == 1 else f"steps of the first of {workers.size} processes"
        task = bar.add_task(what, total=sum(len(batch) for batch in batches) * job.plan.steps)
        try:
            share = generator.run(job.plan, finished=job.finished, rank=workers.rank, size=workers.size, on_step=step)
            for part in share:
                for row, index in enumerate(part.indices):
                    if index not in job.finished:
                        entries[index] = write_sample(out, job.plan, part, row, bundle_digest=generator.digest)
                if time.monotonic() - written >= MANIFEST_SECONDS:
                    write_manifest()
        finally:  # Ctrl-C and errors lose nothing
            if len(entries) > named:
                write_manifest()
    return manifest()


def _manifest(
    bundle: Path, generator: ParticleGenerator, plan: SamplePlan, entries: dict[int, SampleEntry], *, complete: bool
) -> SampleManifest:
    centre = generator.box_size_voxel // 2
    return SampleManifest(
        complete=complete,
        bundle=bundle.resolve().name,
        bundle_digest=generator.digest,
        provenance=generator.card.provenance,
        labels=generator.labels,
        voxel_size_angstrom=generator.voxel_size_angstrom,
        box_size_voxel=generator.box_size_voxel,
        tilt_range_degrees=generator.card.tilt_range_degrees,
        normalisation=generator.card.normalisation,
        training_data_digest=generator.card.training_data_digest,
        training_moments=generator.card.moments,
        particle_centre_voxel=(centre, centre, centre),
        precision=plan.precision,
        memory_format=plan.compute.memory_format,
        samples=tuple(entries[index] for index in sorted(entries)),
    )


def _report(out: Path, manifest: SampleManifest, *, copick: bool) -> None:
    box = manifest.box_size_voxel
    voxel_size = f"{manifest.voxel_size_angstrom:.3f} A"
    say(f"{len(manifest.samples)} samples of {box}^3 voxels at {voxel_size}, z-scored grey values")
    for label in dict.fromkeys(entry.label for entry in manifest.samples):
        say(f"  {sum(entry.label == label for entry in manifest.samples):5d} {label}")
    for name, what in [
        (VOLUMES, "MRC"),
        (MANIFEST_FILE, "label, position, seed, sampler, moments of every volume"),
        (PARTICLES, "RELION 5 particles"),
        (CONFIG_NAME, "copick project: tomograms and picks"),
    ]:
        if copick or name != CONFIG_NAME:
            say_written(out / name, what)
