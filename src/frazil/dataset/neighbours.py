"""Who else is in a box: every other annotated particle whose centre lies in one of its voxels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from frazil.dataset.particles import BOX_CENTER, CENTER_ANGSTROM

OFFSET = ["offset_z_voxel", "offset_y_voxel", "offset_x_voxel"]
"""From voxel D/2 of the box to the neighbour's centre, in voxels of the box: it lies at voxel D/2 + offset."""


def find_neighbours(
    boxes: pd.DataFrame, annotated: pd.DataFrame, *, box_size_voxel: int, voxel_size_angstrom: float
) -> pd.DataFrame:
    """Return one row a neighbour: box, label, and its offset.

    All classes count, asked for or not, and also picks that have no box of their own; duplicates do not, they are the
    same particle.

    Parameters
    ----------
    boxes : rows of `annotated` (by index) that have a box, with the columns box, run and `BOX_CENTER`.
    annotated : all picks, with run, label, duplicate and `CENTER_ANGSTROM`.
    box_size_voxel, voxel_size_angstrom : of the boxes.
    """
    frames = []
    others = annotated[~annotated["duplicate"]].dropna(subset=CENTER_ANGSTROM)
    for run, inside in boxes.groupby("run", sort=True):
        around = others[others["run"] == run]
        centers = around[CENTER_ANGSTROM].to_numpy() / voxel_size_angstrom
        box_centers = inside[BOX_CENTER].to_numpy()
        # the largest offset of any voxel's border is D/2 + 1/2, in the maximum norm
        tree = KDTree(centers)
        found: list[list[int]] = [
            sorted(tree.query_ball_point(c, box_size_voxel / 2 + 0.5, p=np.inf)) for c in box_centers
        ]
        box_row = np.repeat(np.arange(len(inside)), [len(hits) for hits in found])
        other_row = np.array([other for hits in found for other in hits], dtype=np.int64)
        offsets = centers[other_row] - box_centers[box_row]
        voxel = np.floor(offsets + 0.5)  # the voxel that holds the centre, counted from voxel D/2
        kept = ((voxel >= -box_size_voxel // 2) & (voxel < box_size_voxel // 2)).all(axis=1)
        kept &= around.index.to_numpy()[other_row] != inside.index.to_numpy()[box_row]
        frame = pd.DataFrame(offsets[kept], columns=OFFSET)
        frame.insert(0, "box", inside["box"].to_numpy()[box_row[kept]])
        frame.insert(1, "label", around["label"].to_numpy()[other_row[kept]])
        frames.append(frame)
    if not frames:
        return pd.DataFrame(columns=["box", "label", *OFFSET])
    return pd.concat(frames, ignore_index=True).sort_values("box", kind="stable", ignore_index=True)
