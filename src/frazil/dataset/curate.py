"""From a plan to a box store: one tomogram at a time, boxes cut in threads, resumable run by run."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from frazil.core.errors import PickError, StoreError
from frazil.core.files import output_errors
from frazil.dataset.cut import Box, cut_box
from frazil.dataset.particles import CENTER_VOXEL, Reason, summary
from frazil.dataset.split import split_boxes
from frazil.dataset.store import BoxStore, read_description
from frazil.dataset.tables import MOMENTS, box_table, describe, store_tables
from frazil.dataset.writer import StoreWriter, refuse_occupied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from frazil.core.records import Tomogram
    from frazil.dataset.plan import Plan
    from frazil.io.sources import Source

BATCH_BYTES = 64 * 1024**2
"""Boxes that wait to be written take about this much memory."""

_REMEDIES = {
    Reason.ABSENT: "copy the tomogram again, or check --level",
    Reason.CONSTANT: "the tomogram is empty there; check that it was written whole",
    Reason.NOT_FINITE: "write the tomogram again without NaN and infinite voxels",
    Reason.PADDED: "pass a larger --max-padding or a smaller --box",
}
"""What to do when no pick gave a box, by the commonest reason."""


class OnProgress(Protocol):
    """Is told how far the work is."""

    def __call__(self, run: str, picks: int) -> None:
        """Take note that `picks` more of `run` were dealt with; 0 when the run is about to be read."""


def find_finished(path: Path, plan: Plan) -> BoxStore | None:
    """Return the store at `path` if it was curated from the same picks with the same settings, else None.

    Raises
    ------
    StoreError : it was, and is damaged.
    """
    try:
        description = read_description(path)
    except StoreError:
        return None
    if description.plan_digest != plan.digest or description.curate != plan.settings:
        return None
    StoreWriter(path).tidy()
    return BoxStore.open(path)


def curate_boxes(
    source: Source, plan: Plan, path: Path, *, force: bool = False, on_progress: OnProgress | None = None
) -> BoxStore:
    """Cut all boxes of `plan` and write the store, or go on where a call with the same plan was interrupted.

    Parameters
    ----------
    plan : of this source, checked.
    path : where the store will be; until then the work stands in ``<path>.partial``.
    force : replace a store, or what is left of one, that has other settings.

    Raises
    ------
    StoreError : another store, or part of one, is at `path`; a validation run has no boxes.
    PickError : no pick gave a box.
    SourceError : a tomogram cannot be read.
    OutputError : the disk is full, the place cannot be written, or it holds something else.
    """
    refuse_occupied(path, force=force)
    writer = StoreWriter(path)
    writer.begin(plan.digest, boxes=len(plan.to_cut()), box_size_voxel=plan.settings.box_size_voxel, force=force)
    results = _cut_all(source, plan, writer, on_progress or _ignore)
    particles = plan.particles.join(results.drop(columns="reason"))
    particles.loc[results.index, "reason"] = results["reason"]
    boxes = box_table(particles)
    if not len(boxes):
        writer.abandon()
        remedy = _REMEDIES[Reason(str(results["reason"].value_counts().idxmax()))]
        raise PickError(f"{source.path}: no pick gave a box ({summary(particles)}); {remedy}")
    split = split_boxes(boxes, plan.settings)
    boxes["split"] = split.names
    writer.write_tables(store_tables(plan, particles, boxes))
    writer.finish(describe(writer.partial, plan, particles, boxes, split))
    return BoxStore.open(path)


def _ignore(run: str, picks: int) -> None:
    """Report nothing."""


def _cut_all(source: Source, plan: Plan, writer: StoreWriter, on_progress: OnProgress) -> pd.DataFrame:
    """Cut run after run; return reason, box and `MOMENTS` of every pick, by row of the plan."""
    rows: list[dict[str, Any]] = []
    next_box = 0
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for number, (run, picks) in enumerate(plan.to_cut().groupby("run", sort=True)):
            done = writer.record_of(number)
            if done is None:
                writer.discard_boxes(next_box)  # a killed call may have left some of this run
                on_progress(str(run), 0)
                cutting = _Cutting(source.read(str(run)), plan.ratio(str(run)), plan, writer, pool)
                done = list(cutting.cut(picks, next_box, partial(on_progress, str(run))))
                writer.finish_run(number, str(run), done)
                del cutting  # one tomogram at a time in memory
            else:
                on_progress(str(run), len(done))
            next_box += sum(not row["reason"] for row in done)
            rows += done
    return pd.DataFrame(rows, columns=["particle", "reason", "box", *MOMENTS]).set_index("particle")


class _Cutting:
    """One tomogram and the threads that cut it."""

    def __init__(
        self, tomogram: Tomogram, ratio: float, plan: Plan, writer: StoreWriter, pool: ThreadPoolExecutor
    ) -> None:
        self.edge = plan.settings.box_size_voxel
        self.cut_one = partial(
            cut_box, tomogram, box_size_voxel=self.edge, ratio=ratio, max_padding=plan.settings.max_padding
        )
        self.writer = writer
        self.pool = pool

    def cut(self, picks: pd.DataFrame, next_box: int, on_boxes: Callable[[int], None]) -> Iterator[dict[str, Any]]:
        """Cut in batches: a batch is cut in parallel, numbered in order, and written in parallel."""
        centers = picks[CENTER_VOXEL].to_numpy()
        batch = max(1, BATCH_BYTES // (5 * self.edge**3))
        for first in range(0, len(picks), batch):
            cuts = list(self.pool.map(self.cut_one, centers[first : first + batch]))
            writes = []
            for particle, box in zip(picks.index[first : first + batch], cuts, strict=True):
                if isinstance(box, Box):
                    writes.append(self.pool.submit(self.writer.write_box, next_box, box.volume, box.measured))
                    yield {"particle": int(particle), "reason": "", "box": next_box, **_numbers(box)}
                    next_box += 1
                else:
                    yield {"particle": int(particle), "reason": box.value}
            with output_errors(self.writer.partial):
                for write in writes:
                    write.result()
            on_boxes(len(cuts))


def _numbers(box: Box) -> dict[str, float]:
    return dict(zip(MOMENTS, (box.padding, *box.padded_moments, *box.measured_moments), strict=True))
