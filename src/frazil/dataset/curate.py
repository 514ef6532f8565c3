"""From a plan to a box store: one tomogram at a time in each worker, resumable run by run.

Each run's boxes are cut into a folder of their own, ``STORE/.runs/00003``, in whatever order the workers finish. When all
are there, they are numbered in the order of the runs and joined in ``STORE/boxes.zarr``, so that the bytes of a store do
not depend on the number of workers, nor on interruptions. The description is written last.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from frazil.core.console import warn
from frazil.core.documents import Document, differences
from frazil.core.errors import PickError, StoreError
from frazil.core.executor import executor
from frazil.core.files import atomic_path, file_digest, output_errors
from frazil.core.folder import OutputFolder
from frazil.core.ledger import remove_own
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.description import DESCRIPTION, REMEDY, StoreDescription, read_description, store_digest
from frazil.dataset.plan import CUTTING, CurationPlan
from frazil.dataset.runs import RUNS, RunCutter, collect_boxes, read_cut, run_jobs
from frazil.dataset.split import Split, split_boxes
from frazil.dataset.store import BOXES, BoxStore
from frazil.dataset.tables import (
    LEFT_OUT,
    MOMENTS,
    NEIGHBOURS,
    PARTICLES,
    Reason,
    box_table,
    count_classes,
    find_neighbours,
    left_out_table,
    summary,
)
from frazil.io.cells import csv_text
from frazil.io.sources import Source

_REMEDIES = {
    Reason.ABSENT: "copy the tomogram again, or check the level",
    Reason.CONSTANT: "the tomogram is empty there; check that it was written whole",
    Reason.NOT_FINITE: "write the tomogram again without NaN and infinite voxels",
    Reason.PADDED: "allow more max padding, or take smaller boxes",
}
"""What to do when no pick gave a box, by the most common reason."""


class Curation(Document):
    """The request to `frazil curate`; written before the first box, so that the same call resumes.

    `plan_digest` is of picks, headers and settings that decide which boxes there are.
    """

    written_by: ClassVar[str] = "frazil curate"

    schema_version: int = 1
    kind: Literal["frazil curation"] = "frazil curation"
    source: SourceSettings
    curate: CurateSettings
    plan_digest: str


def _store_folder(path: Path) -> OutputFolder[Curation]:
    owns = (DESCRIPTION, PARTICLES, NEIGHBOURS, LEFT_OUT, BOXES, f"{RUNS}/{'[0-9]' * 5}")
    return OutputFolder(path, "curation.json", Curation, owns)


def find_finished(path: Path, plan: CurationPlan) -> BoxStore | None:
    """Return the store at `path` if it was curated from the same picks with the same settings, else None."""
    try:
        description = read_description(path)
    except StoreError:
        return None
    if description.plan_digest != plan.digest or description.curate != plan.settings:
        return None
    folder = _store_folder(path)
    with folder.held(shared=True):
        remove_own(path / RUNS)  # left by a call that was killed at its very end
        if lost := folder.check():
            raise StoreError(f"{path / lost[0]}: missing ({len(lost)} files in all); {REMEDY}")
    return BoxStore.open(path)


def curate_boxes(
    source: Source,
    plan: CurationPlan,
    path: Path,
    *,
    runs: slice | None = None,
    workers: int = 1,
    dask: str | None = None,
    force: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> BoxStore | None:
    """Cut all boxes of `plan` and write the store, or resume where a call with the same plan was interrupted.

    Parameters
    ----------
    plan : of `source`, checked.
    runs : cut only these of `run_jobs` and leave the store unfinished, so that several calls can share the work.
    workers, dask : see `frazil.core.executor.executor`; each worker holds one tomogram in memory.
    force : replace a store, finished or not, that has other settings, or is damaged.
    on_progress : called with a number of picks that were dealt with; first with those of an earlier call.
    """
    folder = _store_folder(path)
    wanted = Curation(source=plan.source_settings, curate=plan.settings, plan_digest=plan.digest)
    shared = runs is not None
    with folder.held(shared=shared):
        if (left_behind := path.parent / f"{path.name}.partial").exists():
            warn(f"{left_behind}: not used, frazil 0.1 wrote it and did not finish it; remove it")
        with folder.turn() if shared else nullcontext():
            finished = (path / DESCRIPTION).exists()
            if finished and not folder.record_path.exists():
                _adopt(folder, wanted, force=force)
            compare = partial(_changes, finished=finished)
            work, earlier = folder.begin(wanted, force=force, again=finished, shared=shared, compare=compare)
            path = work.path
            if earlier is not None:
                wanted.write(work.record_path)
        jobs = run_jobs(plan)
        chosen = jobs if runs is None else jobs[runs]
        left = [job for job in chosen if not job.folder(path).exists()]
        on_progress(sum(len(job.particles) for job in chosen if job not in left))
        with executor(workers=workers, dask=dask, threads=None) as pool:
            for job, _ in pool.run(RunCutter(source, plan.settings, path), left):
                on_progress(len(job.particles))
        if runs is not None:
            return None
        results = pd.DataFrame(
            [row for job in jobs for row in read_cut(path, job)], columns=["particle", "reason", *MOMENTS]
        ).set_index("particle")
        results["box"] = (results["reason"] == Reason.KEPT).cumsum() - 1
        particles = plan.particles.join(results.drop(columns="reason"))
        particles.loc[results.index, "reason"] = results["reason"]
        boxes = box_table(particles)
        if not len(boxes):
            remove_own(path / RUNS)
            work.abandon()
            remedy = _REMEDIES[Reason(str(results["reason"].value_counts().idxmax()))]
            raise PickError(f"{source.path}: no pick gave a box ({summary(particles)}); {remedy}")
        split = split_boxes(boxes, plan.settings)
        boxes["split"] = split.names
        with output_errors(path):
            collect_boxes(path, jobs, boxes=len(boxes), box_size_voxel=plan.settings.box_size_voxel)
        _write_tables(path, plan, particles, boxes, split)
        path = work.finish()
        remove_own(path / RUNS)
    return BoxStore.open(path)


def _adopt(folder: OutputFolder[Curation], wanted: Curation, *, force: bool) -> None:
    """Give a store of frazil 0.1 the record that it lacks; with `force` also one that is damaged, which is then replaced."""
    record = wanted
    try:
        described = read_description(folder.path)
        record = Curation(source=described.source, curate=described.curate, plan_digest=described.plan_digest)
    except StoreError:
        if not force:
            raise
    record.write(folder.record_path)


def _changes(old: Curation, new: Curation, *, finished: bool) -> list[str]:
    """Return what makes two requests different. Until a store is finished its split may still change."""
    split = [] if finished else [f"curate.{name}" for name in CurateSettings.model_fields if name not in CUTTING]
    changed = differences(old, new, {"plan_digest", "source.picks_file", *split})
    return changed or (["other picks or tomograms"] if old.plan_digest != new.plan_digest else [])


def _write_tables(path: Path, plan: CurationPlan, particles: pd.DataFrame, boxes: pd.DataFrame, split: Split) -> None:
    """Write the tables, and then the description that says that the store is whole."""
    settings = plan.settings
    neighbours = find_neighbours(
        boxes,
        particles,
        box_size_voxel=settings.box_size_voxel,
        grids={run: plan.box_grid(run) for run in plan.headers},
    )
    digests = {}
    for name, table in {PARTICLES: boxes, NEIGHBOURS: neighbours, LEFT_OUT: left_out_table(particles)}.items():
        with atomic_path(path / name) as temporary:
            temporary.write_text(csv_text(table), encoding="utf-8")
        digests[name] = file_digest(path / name)
    labels = tuple(sorted(boxes["label"].unique()))
    description = StoreDescription(
        labels=labels,
        voxel_size_angstrom=plan.voxel_size_angstrom,
        box_size_voxel=settings.box_size_voxel,
        box_count=len(boxes),
        tilt_range_degrees=plan.tilt_range_degrees,
        split_by=settings.split_by,
        validation_runs=split.validation_runs,
        overlapping_validation_boxes=split.overlapping,
        seed=settings.seed,
        curate=settings,
        source=plan.source_settings,
        source_path=str(plan.source_path.resolve()),
        source_kind=plan.source_kind,
        tomograms=plan.headers,
        simulated=any(header.simulated for header in plan.headers.values()),
        counts=count_classes(particles, plan.labels, plan.radii_angstrom),
        plan_digest=plan.digest,
        table_digests=digests,
        digest=store_digest(labels, plan.voxel_size_angstrom, settings.box_size_voxel, digests),
    )
    description.write(path / DESCRIPTION)
