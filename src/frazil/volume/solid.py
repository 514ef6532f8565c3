"""Solid bodies: what a particle keeps others out of."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt
from scipy.ndimage import label as connected_regions

_PORE_ANGSTROM = 14.0
"""Half the width of an opening that no protein's edge reaches through."""


def with_cavities(body: Bool[np.ndarray, "z y x"], voxel_size_angstrom: float) -> Bool[np.ndarray, "z y x"]:
    """Return a body with the cavities that open only by pores narrower than 28 A: nothing else can be inside a ferritin."""
    pore_voxel = max(_PORE_ANGSTROM / voxel_size_angstrom, 1.5)  # coarse voxels leave gaps at their corners
    margin = int(np.ceil(pore_voxel)) + 1
    distance = distance_transform_edt(~np.pad(body, margin))
    regions, count = connected_regions(distance > pore_voxel)
    if count > 1:  # more than the outside
        outside = regions == regions[0, 0, 0]
        cavities = (regions > 0) & ~outside
        # Back to the walls of the cavities, into their corners too, but not through a pore to the outside.
        filled = distance_transform_edt(~cavities) <= 2 * pore_voxel
        filled &= distance_transform_edt(~outside) > pore_voxel
        inner = slice(margin, -margin)
        body = body | filled[inner, inner, inner]
    return body
