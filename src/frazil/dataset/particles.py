"""The table of annotated particles: one row a pick, where it lies, and why it was left out if it was."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float

    from frazil.core.records import Picks

CENTER_ANGSTROM = ["centre_z_angstrom", "centre_y_angstrom", "centre_x_angstrom"]
"""Centre, angstrom from the centre of the tomogram's voxel (0, 0, 0)."""

CENTER_VOXEL = ["centre_z_voxel", "centre_y_voxel", "centre_x_voxel"]
"""The same in voxels of the tomogram."""

POSITION = ["position_z", "position_y", "position_x"]
"""Centre in voxels / edge of the tomogram in voxels, in [0, 1] (the paper's normalised coordinates)."""

BOX_CENTER = ["box_centre_z_voxel", "box_centre_y_voxel", "box_centre_x_voxel"]
"""Where voxel D/2 of the box lies, in voxels of the *box* from the centre of the tomogram's voxel (0, 0, 0)."""

ROTATION = [f"rotation_{row}{column}" for row in "zyx" for column in "zyx"]
"""Object -> tomogram, acting on zyx vectors, row by row; empty where the orientation is not known."""

DUPLICATE_VOXEL = 0.5
"""Two picks of one class that are closer than this are one particle."""


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
    """Return one row a pick, in the order of `picks`: run, label, centre in angstrom, rotation, user, session."""
    frames = [pd.DataFrame(columns=["run", "label", *CENTER_ANGSTROM, *ROTATION, "user", "session"])]
    for some in picks:
        frame = pd.DataFrame(some.centers_angstrom.astype(np.float64), columns=CENTER_ANGSTROM)
        rotations = np.full((len(some), 9), np.nan) if some.rotations is None else some.rotations.reshape(-1, 9)
        frame[ROTATION] = rotations
        frame.insert(0, "run", some.run)
        frame.insert(1, "label", some.label)
        frame["user"] = some.user or ""
        frame["session"] = some.session or ""
        frames.append(frame)
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled or frames, ignore_index=True)


def find_outside(centers_voxel: Float[np.ndarray, "n 3"], shape_voxel: tuple[int, int, int]) -> Bool[np.ndarray, "n"]:
    """Say whose centre lies in no voxel of the tomogram."""
    nearest = np.rint(centers_voxel)
    return np.asarray(~((nearest >= 0) & (nearest < np.asarray(shape_voxel))).all(axis=1))


def find_duplicates(centers: Float[np.ndarray, "n 3"], distance: float) -> Bool[np.ndarray, "n"]:
    """Say which points lie within `distance` of an earlier one that is no duplicate itself; NaN never does."""
    duplicate = np.zeros(len(centers), dtype=bool)
    known = np.flatnonzero(np.isfinite(centers).all(axis=1))
    if len(known) < 2:
        return duplicate
    pairs = KDTree(centers[known]).query_pairs(distance, output_type="ndarray")
    for first, second in sorted((known[min(pair)], known[max(pair)]) for pair in pairs):
        duplicate[second] |= not duplicate[first]
    return duplicate


def summary(particles: pd.DataFrame) -> str:
    """Return the reasons with their counts in one line, the commonest first."""
    reasons = particles["reason"].value_counts()
    return ", ".join(f"{count} {reason or 'to cut'}" for reason, count in reasons.items())
