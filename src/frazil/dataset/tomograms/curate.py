"""From a plan to a tomogram store: one tomogram at a time in each worker, resumable tomogram by tomogram."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import zarr
from jaxtyping import Bool, Float
from numcodecs import LZ4

from frazil.core.documents import Document, differences
from frazil.core.errors import PickError, SettingsError, StoreError
from frazil.core.executor import executor
from frazil.core.files import atomic_path, file_digest, write_json
from frazil.core.folder import OutputFolder
from frazil.core.reading import read_json
from frazil.core.records import Moments, Tomogram
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.description import DESCRIPTION
from frazil.dataset.plan import CurationPlan
from frazil.dataset.runs import WHOLE_BYTES
from frazil.dataset.split import GAP, TRAIN, VALIDATION, validation_runs
from frazil.dataset.tables import CENTER_ANGSTROM, CENTER_VOXEL, PARTICLES, ROTATION
from frazil.dataset.tomograms.description import Region, TomogramStoreDescription, voxel_bytes
from frazil.dataset.tomograms.store import CHUNK_VOXEL, TEMPLATES, TOMOGRAMS, TomogramStore
from frazil.dataset.tomograms.templates import Averages, average_particles
from frazil.io.cells import csv_text
from frazil.io.copick.project import CLASSES, INSTANCES
from frazil.io.sources import Source
from frazil.volume.crop import crop_measured

_MOMENTS = "moments.json"
_QUANTILES = (0.1587, 0.5, 0.8413)
"""Of a normal distribution: one standard deviation below the middle, the middle, one above."""

_SAMPLED = 2_000_000
"""Voxels that tell the quantiles: to a thousandth of the spread."""


class TomogramCuration(Document):
    """The request to `frazil curate --whole`; written first, so that the same call resumes."""

    written_by: ClassVar[str] = "frazil curate --whole"

    schema_version: int = 2  # 1 had no label maps
    kind: Literal["frazil tomogram curation"] = "frazil tomogram curation"
    source: SourceSettings
    curate: CurateSettings
    maps: tuple[str, ...] = ()
    plan_digest: str


@dataclass(frozen=True)
class _TomogramWriter:
    """Writes one tomogram into the store, whole or not at all."""

    source: Source
    store: Path
    maps: Sequence[str]

    def __call__(self, job: tuple[int, str]) -> None:
        number, run = job
        shape = self.source.header(run).shape_voxel
        whole = self.source.read(run) if 4 * math.prod(shape) <= WHOLE_BYTES else None
        slabs = [slice(z, min(z + CHUNK_VOXEL, shape[0])) for z in range(0, shape[0], CHUNK_VOXEL)]
        step = max(1, math.prod(shape) // _SAMPLED)
        sampled, seen, absent, digest = [], 0, False, hashlib.sha256()
        for slab in slabs:
            values, measured = self._planes(run, slab, whole)
            digest.update(voxel_bytes(values))
            absent |= not measured.all()
            flat = values[measured] if absent else values.ravel()
            sampled.append(flat[-seen % step :: step].copy())
            seen += len(flat)
            del values, measured, flat  # before the next are read
        found = robust_moments(np.concatenate(sampled), self.source.header(run).origin)
        said: dict[str, Any] = found._asdict() | {"digest": f"sha256:{digest.hexdigest()}"}
        with atomic_path(_folder(self.store, number)) as folder:
            group = zarr.group(zarr.DirectoryStore(str(folder)))
            layout: dict[str, Any] = {"shape": shape, "chunks": (CHUNK_VOXEL,) * 3, "dimension_separator": "."}
            volume = group.create_dataset("volume", dtype="<f2", compressor=None, **layout)
            if absent:  # Blosc's threads come in any order
                flags = group.create_dataset("measured", dtype=bool, compressor=LZ4(), **layout)
            for slab in slabs:
                values, measured = self._planes(run, slab, whole)
                scaled = values - np.float32(found.mean)
                scaled /= np.float32(found.std)
                if absent:
                    scaled[~measured] = 0
                    flags[slab] = measured
                volume[slab] = scaled.astype(np.float16)
                del values, measured, scaled
            if self.maps:
                layout |= {"shape": (len(self.maps), *shape), "chunks": (1, *layout["chunks"])}
                maps, digest = group.create_dataset("maps", dtype=bool, compressor=LZ4(), **layout), hashlib.sha256()
                for (plane, name), slab in product(enumerate(self.maps), slabs):
                    marked = self.source.label_map(run, name, shape, slab)
                    digest.update(np.packbits(marked).data)
                    maps[plane, slab] = marked
                said["map_digest"] = f"sha256:{digest.hexdigest()}"
            write_json(folder / _MOMENTS, said)

    def _planes(
        self, run: str, slab: slice, whole: Tomogram | None
    ) -> tuple[Float[np.ndarray, "z y x"], Bool[np.ndarray, "z y x"]]:
        """Return gray values of some planes, of the `whole` tomogram if that is in memory, and which of them were measured."""
        tomogram = whole or self.source.read(run, slab)
        shape = tomogram.header.shape_voxel
        size = (slab.stop - slab.start, *shape[1:])
        present = crop_measured(shape, tomogram.chunk_voxel, tomogram.chunk_present, (slab.start, 0, 0), size)
        return tomogram.volume[slab.start - tomogram.first_plane :][: size[0]], present


def robust_moments(values: Float[np.ndarray, "n"], origin: str) -> Moments:
    """Return median and spread of measured gray values: half the distance of the quantiles that are 2 sigma apart."""
    low, middle, high = np.quantile(values, _QUANTILES) if len(values) else (0,) * 3
    if not low < high or not math.isfinite(high - low):
        raise StoreError(f"{origin}: its gray values are constant or not finite; check that it was written whole")
    return Moments(float(middle), float(high - low) / 2)


def _folder(store: Path, number: int) -> Path:
    return store / TOMOGRAMS / f"{number:05d}"


def curate_tomograms(
    source: Source,
    plan: CurationPlan,
    path: Path,
    *,
    maps: Sequence[str] = (),
    workers: int = 1,
    dask: str | None = None,
    force: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> TomogramStore:
    """Write all tomograms of `plan` and their particles, or resume where a call with the same plan was interrupted.

    Parameters
    ----------
    plan : of `source`, checked.
    maps : names of segmentations that every run has, of which every voxel counts that is not 0.
    workers, dask : see `frazil.core.executor.executor`; each worker holds one tomogram in memory.
    force : replace a store with other settings.
    on_progress : called with a number of tomograms that are there; first with those of an earlier call.
    """
    if any(plan.ratio(run) != 1 for run in plan.headers):
        raise SettingsError(
            f"resample to {plan.voxel_size_angstrom:g} A: whole tomograms keep their voxels; choose another level, or bin them first"
        )
    maps = sorted(set(maps))
    if taken := {CLASSES, INSTANCES}.intersection(maps):
        raise SettingsError(
            f"map {min(taken)}: frazil calls its own masks of particles so; rename the segmentation, or name another"
        )
    for run, name in product(plan.headers, maps):  # refuses before anything is touched
        source.label_map(run, name, plan.headers[run].shape_voxel, slice(0, 0))
    owns = (DESCRIPTION, PARTICLES, TEMPLATES, f"{TOMOGRAMS}/{'[0-9]' * 5}")
    folder = OutputFolder(path, "curation.json", TomogramCuration, owns)
    wanted = TomogramCuration(
        source=plan.source_settings, curate=plan.settings, maps=tuple(maps), plan_digest=plan.digest
    )

    def compare(old: TomogramCuration, new: TomogramCuration) -> list[str]:
        changed = differences(old, new, {"plan_digest", "source.picks_file"})
        return changed or (["other picks or tomograms"] if old.plan_digest != new.plan_digest else [])

    folder.earlier(wanted, force=force, compare=compare)  # refuses before anything is touched
    with folder.held():
        again = (path / DESCRIPTION).exists()
        work, _ = folder.begin(wanted, force=force, again=again, compare=compare)
        lost = work.check()
        jobs = list(enumerate(sorted(plan.headers)))
        there = [job for job in jobs if _folder(work.path, job[0]).exists()]
        there = [job for job in there if not any(name.startswith(f"{TOMOGRAMS}/{job[0]:05d}/") for name in lost)]
        on_progress(len(there))
        with executor(workers=workers, dask=dask) as pool:
            for _ in pool.run(_TomogramWriter(source, work.path, maps), [job for job in jobs if job not in there]):
                on_progress(1)
        if lost or not (work.path / DESCRIPTION).exists():
            _finish(work.path, plan, maps)
        path = work.finish()
    return TomogramStore.open(path)


def _finish(path: Path, plan: CurationPlan, maps: Sequence[str]) -> None:
    """Write what follows from all tomograms: particles and averages, and last the description."""
    settings = plan.settings
    runs = sorted(plan.headers)
    regions = _regions(plan)
    particles = plan.to_cut()[["run", "label", *CENTER_ANGSTROM, *CENTER_VOXEL, *ROTATION]].reset_index(drop=True)
    particles.insert(2, "split", [_split(regions[run], center) for run, center in _places(particles)])
    if not (particles["split"] == TRAIN).any():
        raise PickError(f"{plan.source_path}: no particle is left for training; choose other validation runs")
    with atomic_path(path / PARTICLES) as temporary:
        temporary.write_text(csv_text(particles), encoding="utf-8")
    labels = tuple(sorted(particles["label"].unique()))
    counts = plan.counts()
    radii = {c.label: c.diameter_angstrom / 2 for c in counts if c.diameter_angstrom and c.label in labels}
    measures = {run: read_json(_folder(path, number) / _MOMENTS, StoreError) for number, run in enumerate(runs)}
    description = TomogramStoreDescription(
        labels=labels,
        voxel_size_angstrom=plan.voxel_size_angstrom,
        tilt_range_degrees=plan.tilt_range_degrees,
        tomograms={run: plan.headers[run] for run in runs},
        tomogram_digests={run: measure.pop("digest") for run, measure in measures.items()},
        maps=tuple(maps),
        map_digests={run: measure.pop("map_digest") for run, measure in measures.items() if maps},
        moments={run: Moments(**measure) for run, measure in measures.items()},
        regions=regions,
        radii_angstrom=radii,
        measured_radii=(),
        template_edge_voxel=0,
        curate=settings,
        source=plan.source_settings,
        source_path=str(plan.source_path.resolve()),
        source_kind=plan.source_kind,
        simulated=any(header.simulated for header in plan.headers.values()),
        counts=counts,
        plan_digest=plan.digest,
        table_digests={},
        digest="",
    )
    averages: Averages = average_particles(TomogramStore(path, description, particles))
    with atomic_path(path / TEMPLATES) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, templates=averages.templates)
    description = description.model_copy(
        update={
            "radii_angstrom": averages.radii_angstrom,
            "measured_radii": averages.measured_radii,
            "template_edge_voxel": averages.templates.shape[-1],
            "table_digests": {name: file_digest(path / name) for name in (PARTICLES, TEMPLATES)},
        }
    )
    description.model_copy(update={"digest": description.own_digest()}).write(path / DESCRIPTION)


def _places(particles: pd.DataFrame) -> list[tuple[str, Float[np.ndarray, "3"]]]:
    return list(zip(particles["run"], particles[CENTER_VOXEL].to_numpy(), strict=True))


def _split(regions: dict[str, Region], center_voxel: Float[np.ndarray, "3"]) -> str:
    """Return the split whose region holds a center, or the gap."""
    inside = [
        name for name, (first, end) in regions.items() if (center_voxel >= np.subtract(first, 0.5)).all()
        and (center_voxel < np.subtract(end, 0.5)).all()
    ]  # fmt: skip
    return inside[0] if inside else GAP


def _regions(plan: CurationPlan) -> dict[str, dict[str, Region]]:
    """Return the part of each tomogram that each split may use: all of it, or slabs with a gap if there is one tomogram only.

    Of the ends of y and x, that one validates which holds nearest to the share of particles that is asked for.
    """
    settings, runs = plan.settings, sorted(plan.headers)
    whole: dict[str, Region] = {run: ((0, 0, 0), plan.headers[run].shape_voxel) for run in runs}
    if len(runs) > 1 or settings.validation_runs:
        validates = validation_runs(runs, settings)
        return {run: {VALIDATION if run in validates else TRAIN: whole[run]} for run in runs}
    (run,) = runs
    centers = plan.to_cut()[CENTER_VOXEL].to_numpy()
    slabs = [pair for axis in (2, 1) for pair in _slabs(plan.headers[run].shape_voxel, axis, settings)]
    if not settings.validation_fraction or not slabs:
        return {run: {TRAIN: whole[run]}}

    def unlike_asked(pair: dict[str, Region]) -> float:
        held = np.mean([_split(pair, center) == VALIDATION for center in centers])
        return abs(float(held) - settings.validation_fraction)

    return {run: min(slabs, key=unlike_asked)}


def _slabs(shape: tuple[int, int, int], axis: int, settings: CurateSettings) -> list[dict[str, Region]]:
    """Divide a tomogram along an axis, with a gap of a box: one end validates, or the other; nothing if there is no room."""
    gap, edge = settings.box_size_voxel, shape[axis]
    thick = max(gap, round(settings.validation_fraction * edge))
    if edge < thick + 2 * gap:
        return []

    def slab(first: int, last: int) -> Region:
        low, high = [0, 0, 0], list(shape)
        low[axis], high[axis] = first, last
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    return [
        {TRAIN: slab(0, edge - thick - gap), VALIDATION: slab(edge - thick, edge)},
        {TRAIN: slab(thick + gap, edge), VALIDATION: slab(0, thick)},
    ]
