"""What a finished store says of itself: its tables and its description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frazil.core.files import file_digest
from frazil.dataset.counts import count_classes
from frazil.dataset.neighbours import find_neighbours
from frazil.dataset.particles import BOX_CENTER, CENTER_ANGSTROM, CENTER_VOXEL, POSITION, ROTATION, Reason
from frazil.dataset.store import LEFT_OUT, NEIGHBOURS, PARTICLES, StoreDescription, store_digest

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from frazil.dataset.plan import Plan
    from frazil.dataset.split import Split

MOMENTS = ["padding", "mean_padded", "std_padded", "mean_measured", "std_measured"]
"""What a box says of its voxels."""

_ANNOTATOR = ["user", "session"]


def box_table(particles: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `particles` that have a box, in the order of the boxes; the split is still empty.

    Parameters
    ----------
    particles : annotated particles with place, reason, box and `MOMENTS`. Its index is kept.
    """
    boxes = particles[particles["reason"] == Reason.KEPT.value].astype({"box": int}).sort_values("box")
    boxes["split"] = ""
    place = [*CENTER_ANGSTROM, *CENTER_VOXEL, *POSITION, *BOX_CENTER]
    return boxes[["box", "run", "label", "split", *place, *MOMENTS, *ROTATION, *_ANNOTATOR]]


def store_tables(plan: Plan, particles: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables of a store by file name.

    Parameters
    ----------
    particles : as for `box_table`.
    boxes : `box_table` with its split.
    """
    left_out = particles[~particles["reason"].isin([Reason.KEPT.value, Reason.OTHER_LABEL.value])]
    neighbours = find_neighbours(
        boxes,
        particles,
        box_size_voxel=plan.settings.box_size_voxel,
        voxel_size_angstrom=plan.voxel_size_angstrom,
    )
    return {
        PARTICLES: boxes,
        NEIGHBOURS: neighbours,
        LEFT_OUT: left_out[["run", "label", *CENTER_ANGSTROM, "reason", *_ANNOTATOR]],
    }


def describe(folder: Path, plan: Plan, particles: pd.DataFrame, boxes: pd.DataFrame, split: Split) -> StoreDescription:
    """Describe the store whose tables are in `folder`."""
    labels = tuple(sorted(boxes["label"].unique()))
    digests = {name: file_digest(folder / name) for name in (PARTICLES, NEIGHBOURS, LEFT_OUT)}
    settings = plan.settings
    return StoreDescription(
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
