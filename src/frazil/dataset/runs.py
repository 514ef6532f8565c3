"""The boxes of one run: cut from its tomogram into a folder of their own, and moved to the other runs' when all are there."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from frazil.core.errors import StoreError
from frazil.core.files import atomic_path, write_json
from frazil.core.reading import read_json
from frazil.core.settings import CurateSettings
from frazil.dataset.cut import CutBox, box_planes, cut_box
from frazil.dataset.plan import CurationPlan
from frazil.dataset.store import BOXES, create_arrays
from frazil.dataset.tables import CENTER_VOXEL, MOMENTS, Reason
from frazil.io.sources import Source

RUNS = ".runs"
"""Folder of the store, until it is finished."""

BATCH_BYTES = 64 * 1024**2
"""Boxes that wait to be written take about this much memory."""

WHOLE_BYTES = 1 << 30
"""A larger tomogram (as float32) is read by slabs."""

SLAB_BYTES = 768 << 20
"""A slab takes about this much, or what a single box needs."""

_CUT = "cut.json"


@dataclass(frozen=True, eq=False)
class RunJob:
    """The picks of one run: rows of the plan and centers in voxels of its tomogram. For `ratio` see `CurationPlan.ratio`."""

    number: int
    run: str
    particles: list[int]
    centers_voxel: Float[np.ndarray, "n 3"]
    ratio: float

    def folder(self, store: Path) -> Path:
        """Return where the boxes are until all runs are cut."""
        return store / RUNS / f"{self.number:05d}"


def run_jobs(plan: CurationPlan) -> list[RunJob]:
    """Return what is to be cut from each run, in the order of the boxes of a store."""
    return [
        RunJob(number, str(run), picks.index.tolist(), picks[CENTER_VOXEL].to_numpy(), plan.ratio(str(run)))
        for number, (run, picks) in enumerate(plan.to_cut().groupby("run", sort=True))
    ]


@dataclass(frozen=True)
class RunCutter:
    """Cuts the boxes of a run into a folder of their own: ``volume`` and ``measured`` numbered from 0, and what became of each pick."""

    source: Source
    settings: CurateSettings
    store: Path

    def __call__(self, job: RunJob) -> None:
        """Read the tomogram and cut its boxes. Their folder is written whole or not at all."""
        rows: dict[int, dict[str, Any]] = {}
        # BLAS would split each box among all cores, where boxes are cut in threads
        with (
            threadpool_limits(1, user_api="blas"),
            atomic_path(job.folder(self.store)) as folder,
            ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
        ):
            arrays = create_arrays(folder, boxes=len(job.particles), box_size_voxel=self.settings.box_size_voxel)
            for chosen, planes in self._slabs(job):
                rows |= self._cut(job, chosen, planes, arrays, pool)
            kept = [place for place in range(len(job.particles)) if not rows[place]["reason"]]
            for number, place in enumerate(kept):
                for name in arrays if number != place else ():
                    if (file := folder / name / f"{place}.0.0.0").exists():
                        file.rename(file.with_name(f"{number}.0.0.0"))
            write_json(
                folder / _CUT, {"run": job.run, "particles": [rows[place] for place in range(len(job.particles))]}
            )

    def _slabs(self, job: RunJob) -> Iterator[tuple[list[int], slice | None]]:
        """Yield picks that are cut together, by their places in the job, and the planes of the tomogram that they need."""
        depth, *plane = self.source.header(job.run).shape_voxel
        plane_bytes = 4 * math.prod(plane)
        if depth * plane_bytes <= WHOLE_BYTES:
            yield list(range(len(job.particles))), None
            return
        edge = self.settings.box_size_voxel
        needed = np.clip([box_planes(float(z), edge, job.ratio) for z in job.centers_voxel[:, 0]], 0, depth)
        chosen: list[int] = []
        for place in np.argsort(needed[:, 0], kind="stable").tolist():
            if chosen and (needed[place, 1] - needed[chosen[0], 0]) * plane_bytes > SLAB_BYTES:
                yield chosen, slice(int(needed[chosen, 0].min()), int(needed[chosen, 1].max()))
                chosen = []
            chosen.append(place)
        yield chosen, slice(int(needed[chosen, 0].min()), int(needed[chosen, 1].max()))

    def _cut(
        self, job: RunJob, places: list[int], planes: slice | None, arrays: dict[str, Any], pool: ThreadPoolExecutor
    ) -> dict[int, dict[str, Any]]:
        """Cut some picks; return what became of each, by its place in the job, which is also the number of its box for now."""
        tomogram = self.source.read(job.run) if planes is None else self.source.read(job.run, planes)
        edge = self.settings.box_size_voxel
        cut = partial(cut_box, tomogram, box_size_voxel=edge, ratio=job.ratio, max_padding=self.settings.max_padding)
        batch = max(1, BATCH_BYTES // (5 * edge**3))
        rows: dict[int, dict[str, Any]] = {}
        for first in range(0, len(places), batch):
            chosen = places[first : first + batch]
            writes = []
            for place, one in zip(chosen, pool.map(cut, job.centers_voxel[chosen]), strict=True):
                rows[place] = {"particle": job.particles[place], "reason": one.value if isinstance(one, Reason) else ""}
                if isinstance(one, CutBox):
                    writes.append(pool.submit(_write_box, arrays, place, one))
                    numbers = (one.padding, *one.padded_moments, *one.measured_moments)
                    rows[place] |= dict(zip(MOMENTS, numbers, strict=True))
            for write in writes:
                write.result()
        return rows


def _write_box(arrays: dict[str, Any], number: int, box: CutBox) -> None:
    arrays["volume"][number] = box.volume
    if not box.measured.all():
        arrays["measured"][number] = box.measured


def read_cut(path: Path, job: RunJob) -> list[dict[str, Any]]:
    """Return what became of the picks of a run."""
    file = job.folder(path) / _CUT
    rows = read_json(file, StoreError).get("particles")
    whole = isinstance(rows, list) and all(isinstance(row, dict) and {"particle", "reason"} <= set(row) for row in rows)
    if not isinstance(rows, list) or not whole or len(rows) != len(job.particles):
        raise StoreError(f"{file}: damaged, it does not list the {len(job.particles)} picks; remove {file.parent}")
    return rows


def collect_boxes(path: Path, jobs: list[RunJob], *, boxes: int, box_size_voxel: int) -> None:
    """Join the boxes of all runs in one array, by links, which take neither time nor space."""
    next_box = 0
    with atomic_path(path / BOXES) as whole:
        arrays = create_arrays(whole, boxes=boxes, box_size_voxel=box_size_voxel)
        for job in jobs:
            for name in arrays:
                for file in (job.folder(path) / name).iterdir():
                    if chunk := re.fullmatch(r"(\d+)\.0\.0\.0", file.name):
                        _link(file, whole / name / f"{next_box + int(chunk[1])}.0.0.0")
            next_box += sum(not row["reason"] for row in read_cut(path, job))


def _link(file: Path, target: Path) -> None:
    try:
        target.hardlink_to(file)
    except OSError:  # a file system without links
        shutil.copyfile(file, target)
