"""Which voxels of a composed tomogram belong to which particle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt16
from scipy.ndimage import find_objects

from frazil.core.records import Layout
from frazil.volume.layout import Painter
from frazil.volume.solid import with_cavities

_CONTOUR = 1 / 3
"""Of the highest density: the contour that the simulator takes, too."""


def instance_mask(
    layout: Layout, shape_voxel: Sequence[int], painter: Painter, voxel_size_angstrom: float
) -> UInt16[np.ndarray, "z y x"]:
    """Return the number of the particle at each voxel, from 1 in the order of the layout; 0 for none.

    A particle is its painted density above a contour, with its cavities; without a template, a ball of its radius. Where two meet,
    the voxel stays with the first.
    """
    mask = np.zeros(shape_voxel, dtype=np.uint16)
    reach = int(np.ceil(painter.reach_voxel))
    drawn = painter.templates.flatten(1).any(dim=1)
    for number in range(len(layout)):
        one = layout[np.array([number])]
        label = int(one.label[0])
        start = np.floor(one.center_voxel[0]).astype(int) - reach
        painted = painter.paint(one, start.tolist(), [2 * reach + 2] * 3)[label].numpy()
        body = painted > (_CONTOUR * painted.max() if drawn[label] else 0.5)
        for spans in find_objects(body.astype(np.uint8)):
            solid = with_cavities(body[spans], voxel_size_angstrom)
            start += [axis.start for axis in spans]
            low = np.maximum(start, 0)
            high = np.maximum(low, np.minimum(start + solid.shape, shape_voxel))
            there = mask[tuple(map(slice, low, high))]
            there[solid[tuple(map(slice, low - start, high - start))] & (there == 0)] = number + 1
    return mask
