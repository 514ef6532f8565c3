"""A folder of samples: what is there and whole, what may be replaced, and its copies for copick and RELION.

DIR/request.json         what was asked for; written first
DIR/volumes/*.mrc        one file a sample
DIR/manifest.json        what is there; grows every few seconds; beside it one of each further process
DIR/particles.star       RELION 5 particles
DIR/copick.json, DIR/ExperimentRuns    copick project, one run a sample
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from frazil.core.errors import OutputError
from frazil.core.files import file_digest, output_errors
from frazil.core.records import Moments, Picks, Samples, TomogramHeader
from frazil.io.checks import clean_name
from frazil.io.copick.project import CONFIG_NAME, write_picks, write_project_config, write_tomogram
from frazil.io.mrc import read_volume, write_volume
from frazil.io.star import write_particles
from frazil.sampling.manifest import (
    MANIFEST_FILE,
    PARTS,
    REQUEST_FILE,
    SampleEntry,
    SampleManifest,
    SampleRequest,
    is_damaged,
    normalised_position,
    read_record,
)
from frazil.sampling.plan import SamplePlan

VOLUMES = "volumes"
RUNS = "ExperimentRuns"
PARTICLES = "particles.star"
USER = "frazil"
"""User of the picks in the copick project."""

TOMOGRAM_TYPE = "generated"


def sample_name(index: int, label: str) -> str:
    """Return the name of a sample: of its file, its run, its tomogram."""
    return f"{clean_name(label) or 'class'}-{index:05d}"


def read_request(out: Path) -> SampleRequest | None:
    """Return what an earlier call was asked for; None where there was none, or where it is damaged (`damaged_record`).

    Raises
    ------
    OutputError : a newer frazil wrote the request, or something stands in the way that no earlier call wrote.
    """
    if is_damaged(out / REQUEST_FILE, SampleRequest):
        return None
    if (out / REQUEST_FILE).exists():
        return read_record(out / REQUEST_FILE, SampleRequest, OutputError)
    for name in (VOLUMES, MANIFEST_FILE, PARTICLES, CONFIG_NAME, RUNS):
        if (out / name).exists():  # not even --force removes it: it may be a project of real data
            raise OutputError(
                f"{out / name}: frazil sample did not write it and will not replace it; choose another folder"
            )
    return None


def damaged_record(out: Path) -> Path | None:
    """Return the request or the manifest if it can no longer be understood, None if neither is damaged."""
    if is_damaged(out / REQUEST_FILE, SampleRequest):
        return out / REQUEST_FILE
    return next((path for path in _manifests(out) if is_damaged(path, SampleManifest)), None)


def _manifests(out: Path) -> list[Path]:
    return [path for path in (out / MANIFEST_FILE, *parts(out)) if path.exists()]


def parts(out: Path) -> list[Path]:
    """Return the manifests that the further processes of a call wrote."""
    return sorted(out.glob(PARTS))


def remove_samples(out: Path, request: SampleRequest | None) -> None:
    """Remove the samples of `request` and nothing else. The request stays, so that a kill leaves a trace of them.

    Parameters
    ----------
    request : None if it is damaged: then what bears the names of samples is removed.

    Raises
    ------
    OutputError : they cannot be removed.
    """
    with output_errors(out):
        for name in _names_in(out) if request is None else _names_of(request):
            (out / VOLUMES / f"{name}.mrc").unlink(missing_ok=True)
            if (out / RUNS / name).exists():
                shutil.rmtree(out / RUNS / name)
        for path in (out / MANIFEST_FILE, *parts(out), out / PARTICLES, out / CONFIG_NAME):
            path.unlink(missing_ok=True)


def _names_of(request: SampleRequest) -> list[str]:
    labels = [row.label for row in request.requests for _ in range(row.count)]
    return [sample_name(index, label) for index, label in enumerate(labels)]


def _names_in(out: Path) -> list[str]:
    """Return the names in `out` that `sample_name` gives: of MRC files, and of runs with a generated tomogram."""
    runs = (out / RUNS).glob(f"*/VoxelSpacing*/*{TOMOGRAM_TYPE}.zarr*")  # whole, or left by a kill
    names = {path.stem for path in (out / VOLUMES).glob("*.mrc")} | {path.parent.parent.name for path in runs}
    return sorted(name for name in names if re.fullmatch(r"[^.].*-\d{5,}", name))


def named_samples(out: Path) -> dict[int, SampleEntry]:
    """Return the samples that the manifests name, by index.

    Raises
    ------
    OutputError : a manifest cannot be read.
    """
    records = [read_record(path, SampleManifest, OutputError) for path in _manifests(out)]
    return {entry.index: entry for record in records for entry in record.samples}


def finished_samples(out: Path) -> dict[int, SampleEntry]:
    """Return the samples that are there and whole, by index.

    Raises
    ------
    OutputError : a manifest cannot be read, or a volume was changed since it was written.
    """
    entries = {}
    for index, entry in named_samples(out).items():
        file = out / entry.file
        if not file.exists():
            continue
        if file_digest(file) != entry.digest:
            raise OutputError(
                f"{file}: changed since it was sampled; move it away and run the same command again to sample it anew"
            )
        entries[index] = entry
    return entries


def is_complete(out: Path, plan: SamplePlan, *, copick: bool) -> bool:
    """Tell whether all that follows from the volumes is there too."""
    if parts(out) or not (out / MANIFEST_FILE).exists() or not (out / PARTICLES).exists():
        return False
    if not read_record(out / MANIFEST_FILE, SampleManifest, OutputError).complete:
        return False
    return not copick or all(
        _pick_file(out, sample_name(index, label), label).exists() for index, label, _ in plan.samples()
    )


def write_sample(out: Path, plan: SamplePlan, samples: Samples, row: int, *, bundle_digest: str) -> SampleEntry:
    """Write volume `row` of `samples` and return its line in the manifest.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    index, label, volume = samples.indices[row], samples.labels[row], samples.volumes[row]
    name = sample_name(index, label)
    file = f"{VOLUMES}/{name}.mrc"
    write_volume(out / file, volume, samples.voxel_size_angstrom)
    return SampleEntry(
        index=index,
        name=name,
        file=file,
        label=label,
        position=normalised_position(samples.positions[row]),
        seed=plan.seed,
        sampler=plan.sampler,
        steps=plan.steps,
        guidance=plan.guidance,
        guidance_interval=plan.guidance_interval,
        bundle_digest=bundle_digest,
        moments=Moments(float(volume.mean(dtype=np.float64)), float(volume.std(dtype=np.float64))),
        digest=file_digest(out / file),
    )


def write_relion(out: Path, manifest: SampleManifest) -> None:
    """Write RELION's view: every sample is a tomogram of its own, and the image of its particle.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    edge = manifest.box_size_voxel
    write_particles(
        out / PARTICLES,
        [_picks(manifest, entry) for entry in manifest.samples],
        headers={
            entry.name: TomogramHeader(entry.name, (edge, edge, edge), manifest.voxel_size_angstrom, entry.file)
            for entry in manifest.samples
        },
        voxel_size_angstrom=manifest.voxel_size_angstrom,
        box_size_voxel=edge,
        image_names=[[entry.file] for entry in manifest.samples],
    )


def write_copick(out: Path, manifest: SampleManifest, *, radius_angstrom: Mapping[str, float]) -> None:
    """Write copick's view: every sample is a run with a tomogram and one pick. What is there already is left alone.

    Parameters
    ----------
    radius_angstrom : of the particles, by label, where it is known.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    # a box leaves its particle about half of the edge
    usual = manifest.box_size_voxel * manifest.voxel_size_angstrom / 4
    radii = {clean_name(label): radius_angstrom.get(label, usual) for label in manifest.labels}
    write_project_config(out, name=out.resolve().name, labels_radius_angstrom=radii)
    for entry in manifest.samples:
        if _pick_file(out, entry.name, entry.label).exists():
            continue
        write_tomogram(
            out,
            run=entry.name,
            volume=read_volume(out / entry.file),
            voxel_size_angstrom=manifest.voxel_size_angstrom,
            tomogram_type=TOMOGRAM_TYPE,
            tilt_range_degrees=manifest.tilt_range_degrees,
            simulated=True,  # no microscope saw it
        )
        write_picks(out, _picks(manifest, entry), user=USER)  # last: the picks say that the run is whole


def _picks(manifest: SampleManifest, entry: SampleEntry) -> Picks:
    """Return the labelled particle of a sample, at the centre of its box."""
    centre_angstrom = np.array([manifest.particle_centre_voxel]) * manifest.voxel_size_angstrom
    return Picks(entry.name, clean_name(entry.label), centre_angstrom, user=USER)


def _pick_file(out: Path, name: str, label: str) -> Path:
    return out / RUNS / name / "Picks" / f"{USER}_0_{clean_name(label)}.json"
