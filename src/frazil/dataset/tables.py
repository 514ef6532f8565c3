"""The tables of a box store: annotated particles and what became of them, counts by class, neighbors in each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict
from scipy.spatial import KDTree

from frazil.core.records import Picks, TomogramHeader

PARTICLES = "particles.csv"
NEIGHBOURS = "neighbours.csv"
LEFT_OUT = "left_out.csv"

CENTER_ANGSTROM = ["centre_z_angstrom", "centre_y_angstrom", "centre_x_angstrom"]
"""Center, angstrom from the center of the tomogram's voxel (0, 0, 0)."""

CENTER_VOXEL = ["centre_z_voxel", "centre_y_voxel", "centre_x_voxel"]
"""The same in voxels of the tomogram."""

POSITION = ["position_z", "position_y", "position_x"]
"""Center in voxels / edge of the tomogram in voxels, in [0, 1] (the paper's normalized coordinates)."""

BOX_CENTER = ["box_centre_z_voxel", "box_centre_y_voxel", "box_centre_x_voxel"]
"""Where voxel D/2 of the box lies, in voxels of the *box* from the center of the tomogram's voxel (0, 0, 0)."""

MOMENTS = ["padding", "mean_padded", "std_padded", "mean_measured", "std_measured"]
"""Share of a box's voxels that were not measured, and its gray values."""

ROTATION = [f"rotation_{row}{column}" for row in "zyx" for column in "zyx"]
"""Object -> tomogram, acting on zyx vectors, row by row; empty where the orientation is not known."""

OFFSET = ["offset_z_voxel", "offset_y_voxel", "offset_x_voxel"]
"""From voxel D/2 of the box to the neighbor's center, in voxels of the box: it lies at voxel D/2 + offset."""

_ANNOTATOR = ["user", "session"]

CZII_DIAMETER_ANGSTROM = {
    "apo-ferritin": 120.0,
    "beta-amylase": 130.0,
    "beta-galactosidase": 180.0,
    "ribosome": 300.0,
    "thyroglobulin": 260.0,
    "virus-like-particle": 270.0,
}
"""Sizes of the CZII particles (the paper's Table 1; twice the radius of the score), for sources that do not say."""


class Reason(StrEnum):
    """Why there is no box for a pick; empty where there is one."""

    KEPT = ""
    OTHER_LABEL = "another class than asked for"
    NO_TOMOGRAM = "no tomogram"
    OUTSIDE = "outside the tomogram"
    DUPLICATE = "duplicate"
    ABSENT = "no voxel on disk"
    CONSTANT = "constant grey value"
    NOT_FINITE = "NaN or infinite voxels"
    PADDED = "too much padding"


def annotated_particles(picks: Sequence[Picks]) -> pd.DataFrame:
    """Return one row per pick, in the order of `picks`: run, label, center in angstrom, rotation, user, session."""
    filled = [some for some in picks if len(some)]
    if not filled:
        return pd.DataFrame(columns=["run", "label", *CENTER_ANGSTROM, *ROTATION, *_ANNOTATOR])
    # one table for all: thousands of small ones take minutes
    names = pd.DataFrame(
        [(some.run, some.label, some.user or "", some.session or "") for some in filled],
        columns=["run", "label", *_ANNOTATOR],
    )
    centers = np.concatenate([some.centers_angstrom for some in filled]).astype(np.float64)
    rotations = [
        np.full((len(some), 9), np.nan) if some.rotations is None else some.rotations.reshape(-1, 9) for some in filled
    ]
    table = names.loc[np.repeat(np.arange(len(filled)), [len(some) for some in filled])].reset_index(drop=True)
    table[CENTER_ANGSTROM] = centers
    table[ROTATION] = np.concatenate(rotations)
    return table[["run", "label", *CENTER_ANGSTROM, *ROTATION, *_ANNOTATOR]]


def find_outside(
    centers_voxel: Float[np.ndarray, "n 3"], shapes_voxel: Int[np.ndarray, "n 3"]
) -> Bool[np.ndarray, "n"]:
    """Return which centers lie in no voxel of their tomogram."""
    nearest = np.rint(centers_voxel)
    return np.asarray(~((nearest >= 0) & (nearest < shapes_voxel)).all(axis=1))


def find_duplicates(centers: Float[np.ndarray, "n 3"], distance: float) -> Bool[np.ndarray, "n"]:
    """Return which points lie within `distance` of an earlier one that is not a duplicate itself; NaN never does."""
    duplicate = np.zeros(len(centers), dtype=bool)
    known = np.flatnonzero(np.isfinite(centers).all(axis=1))
    if len(known) < 2:
        return duplicate
    pairs = KDTree(centers[known]).query_pairs(distance, output_type="ndarray")
    for first, second in sorted((known[min(pair)], known[max(pair)]) for pair in pairs):
        duplicate[second] |= not duplicate[first]
    return duplicate


def summary(particles: pd.DataFrame) -> str:
    """Return the reasons with their counts in one line, the most common first."""
    reasons = particles["reason"].value_counts()
    return ", ".join(f"{count} {reason or 'to cut'}" for reason, count in reasons.items())


class ClassCount(BaseModel):
    """How many particles of one class were found, used and left out, and why: a row of the paper's Table 1.

    Parameters
    ----------
    diameter_angstrom : size of the particle; None where it is not known.
    found : picks.
    used : boxes; in a plan, picks that are to be cut.
    left_out : reason -> picks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    diameter_angstrom: float | None
    found: int
    used: int
    left_out: dict[str, int]


def count_classes(
    particles: pd.DataFrame, labels: Sequence[str], radius_angstrom: Mapping[str, float]
) -> tuple[ClassCount, ...]:
    """Count picks by class and reason; also classes without a pick. Radii are the source's, else those of CZII."""
    counts = []
    for label in labels:
        found = particles.loc[particles["label"] == label, "reason"].value_counts()
        left_out = {reason.value: int(found[reason]) for reason in Reason if reason and reason in found}
        radius = radius_angstrom.get(label)
        diameter = CZII_DIAMETER_ANGSTROM.get(label) if radius is None else 2 * radius
        used = int(found.get(Reason.KEPT, 0))
        counts.append(
            ClassCount(label=label, diameter_angstrom=diameter, found=int(found.sum()), used=used, left_out=left_out)
        )
    return tuple(counts)


def box_table(particles: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `particles` that have a box, in the order of the boxes; the index is kept, the split still empty."""
    boxes = particles[particles["reason"] == Reason.KEPT].astype({"box": int}).sort_values("box")
    boxes["split"] = ""
    place = [*CENTER_ANGSTROM, *CENTER_VOXEL, *POSITION, *BOX_CENTER]
    return boxes[["box", "run", "label", "split", *place, *MOMENTS, *ROTATION, *_ANNOTATOR]]


def left_out_table(particles: pd.DataFrame) -> pd.DataFrame:
    """Return the picks of the requested classes that have no box, and why."""
    left_out = particles[~particles["reason"].isin([Reason.KEPT, Reason.OTHER_LABEL])]
    return left_out[["run", "label", *CENTER_ANGSTROM, "reason", *_ANNOTATOR]]


def find_neighbours(
    boxes: pd.DataFrame, annotated: pd.DataFrame, *, box_size_voxel: int, grids: Mapping[str, TomogramHeader]
) -> pd.DataFrame:
    """Return every other annotated particle whose center lies in one of a box's voxels: box, label, offset.

    All classes count, requested or not, and so do picks without a box of their own; duplicates do not, they are the
    same particle. `boxes` are the rows of `annotated`, by index, that have a box; `grids` the tomograms by run, in voxels of the boxes.
    """
    frames = [pd.DataFrame(columns=["box", "label", *OFFSET])]
    others = annotated[~annotated["duplicate"]].dropna(subset=CENTER_ANGSTROM)
    for run, inside in boxes.groupby("run", sort=True):
        around = others[others["run"] == run]
        centers = grids[str(run)].to_voxel(around[CENTER_ANGSTROM].to_numpy())
        box_centers = inside[BOX_CENTER].to_numpy()
        # the largest offset of any voxel's border is D/2 + 1/2, in the maximum norm
        found: Any = KDTree(centers).query_ball_point(
            box_centers, box_size_voxel / 2 + 0.5, p=np.inf, return_sorted=True
        )
        box_row = np.repeat(np.arange(len(inside)), [len(hits) for hits in found])
        other_row = np.concatenate(found).astype(np.int64)
        offsets = centers[other_row] - box_centers[box_row]
        voxel = np.floor(offsets + 0.5)  # the voxel that holds the center, counted from voxel D/2
        kept = ((voxel >= -box_size_voxel // 2) & (voxel < box_size_voxel // 2)).all(axis=1)
        kept &= around.index.to_numpy()[other_row] != inside.index.to_numpy()[box_row]
        frame = pd.DataFrame(offsets[kept], columns=OFFSET)
        frame.insert(0, "box", inside["box"].to_numpy()[box_row[kept]])
        frame.insert(1, "label", around["label"].to_numpy()[other_row[kept]])
        frames.append(frame)
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled or frames[-1:], ignore_index=True).sort_values("box", kind="stable", ignore_index=True)
