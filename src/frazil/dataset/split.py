"""Which boxes train and which validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from frazil.core.errors import StoreError
from frazil.core.seeds import numpy_generator
from frazil.core.settings import CurateSettings
from frazil.dataset.tables import BOX_CENTER

TRAIN = "train"
VALIDATION = "validation"
GAP = "gap"
"""In neither: between the slabs of a single tomogram."""


@dataclass(frozen=True)
class Split:
    """The split of every row of the particle table. `overlapping` validation boxes share a voxel with a training box."""

    names: list[str]
    validation_runs: tuple[str, ...]
    overlapping: int


def split_boxes(boxes: pd.DataFrame, settings: CurateSettings) -> Split:
    """Divide boxes between training and validation.

    By tomogram: the runs of `settings.validation_runs` validate; where none are named, `validation_fraction` of the
    runs, drawn by seed, at least one of two or more; where there is one run, a slab of it that holds that share of the
    boxes. By particle (the paper): that share of the boxes, drawn by seed.
    """
    if settings.split_by == "particle":
        validates = np.zeros(len(boxes), dtype=bool)
        validates[_draw(len(boxes), settings)] = True
        runs: tuple[str, ...] = ()
    else:
        with_boxes = sorted(boxes["run"].unique())
        if len(with_boxes) == 1 and not settings.validation_runs:
            return _split_slabs(boxes, settings)
        runs = validation_runs(with_boxes, settings)
        validates = boxes["run"].isin(runs).to_numpy(dtype=bool)
    names = np.where(validates, VALIDATION, TRAIN).tolist()
    return Split(names, runs, count_overlapping(boxes, validates, settings.box_size_voxel))


def _split_slabs(boxes: pd.DataFrame, settings: CurateSettings) -> Split:
    """Divide the boxes of one tomogram by a plane: those at one end validate, and those that reach over it are in neither split.

    Of both ends of all axes, the one is taken that leaves the most boxes to train on; where none leaves any, nothing validates.
    """
    centers = boxes[BOX_CENTER].to_numpy(dtype=np.float64)
    count = len(_draw(len(boxes), settings))
    ends = [sign * centers[:, axis] for axis in (2, 1, 0) for sign in (1, -1)]
    edges = [np.sort(end)[count - 1] for end in ends] if count else []
    trains = [end - edge >= settings.box_size_voxel for end, edge in zip(ends, edges, strict=False)]
    names = np.full(len(boxes), TRAIN, dtype=object)
    if any(train.any() for train in trains):
        best = int(np.argmax([train.sum() for train in trains]))
        names[~trains[best]] = GAP
        names[ends[best] <= edges[best]] = VALIDATION
    return Split(names.tolist(), (), 0)


def validation_runs(with_boxes: Sequence[str], settings: CurateSettings) -> tuple[str, ...]:
    """Return which runs validate: those that are named, else a share drawn by seed."""
    if not settings.validation_runs:
        return tuple(sorted(with_boxes[row] for row in _draw(len(with_boxes), settings)))
    if empty := sorted(set(settings.validation_runs) - set(with_boxes)):
        raise StoreError(
            f"validation run {', '.join(empty)} has no boxes; name one of those that have: {', '.join(with_boxes)}"
        )
    if set(with_boxes) <= set(settings.validation_runs):
        raise StoreError(
            f"the validation runs are all runs that have boxes ({', '.join(with_boxes)}), so none is left to train on; "
            "name fewer"
        )
    return tuple(sorted(set(settings.validation_runs)))


def _draw(count: int, settings: CurateSettings) -> list[int]:
    """Draw `validation_fraction` of `count`: at least one, and never all."""
    if settings.validation_fraction == 0 or count < 2:
        return []
    wanted = min(max(1, round(settings.validation_fraction * count)), count - 1)
    drawn = numpy_generator(settings.seed, "split", settings.split_by).choice(count, size=wanted, replace=False)
    return [int(row) for row in drawn]


def count_overlapping(boxes: pd.DataFrame, validates: np.ndarray, box_size_voxel: int) -> int:
    """Count the validation boxes that share a voxel with a training box: centers less than D apart on every axis."""
    overlapping = 0
    for _, rows in boxes.assign(validates=validates).groupby("run"):
        held = rows["validates"].to_numpy(dtype=bool)
        centers = rows[BOX_CENTER].to_numpy()
        if not held.any() or held.all():
            continue
        nearest, _ = KDTree(centers[~held]).query(centers[held], p=np.inf)
        overlapping += int(np.count_nonzero(nearest < box_size_voxel))
    return overlapping
