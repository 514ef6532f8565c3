"""The solid body of a particle: what nothing else can be inside of."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt, label

PROTEIN_DALTON_PER_CUBIC_ANGSTROM = 0.81
"""Mass density of folded protein: 1.35 g/cm^3 (field knowledge)."""

_PORE_ANGSTROM = 14.0  # half the width of an opening that no protein's edge reaches through


def solid_body(density: Float[np.ndarray, "z y x"], voxel_size_angstrom: float) -> Bool[np.ndarray, "z y x"]:
    """Return the voxels that count as the particle.

    The body is what has more than a third of protein's density, or of its own highest where blur leaves less. A cavity
    that opens only by pores narrower than 28 A belongs to it: nothing else can be inside a ferritin.

    Parameters
    ----------
    density : mass density of one particle, dalton per cubic angstrom.
    """
    contour = min(PROTEIN_DALTON_PER_CUBIC_ANGSTROM, float(density.max())) / 3
    body = np.asarray(density > max(contour, 1e-6))
    pore_voxel = max(_PORE_ANGSTROM / voxel_size_angstrom, 1.5)  # coarse voxels leave gaps at their corners
    margin = int(np.ceil(pore_voxel)) + 1
    distance = distance_transform_edt(~np.pad(body, margin))
    regions, count = label(distance > pore_voxel)
    if count > 1:  # more than the outside
        outside = regions == regions[0, 0, 0]
        cavities = (regions > 0) & ~outside
        # Back to the walls of the cavities, into their corners too, but not through a pore to the outside.
        filled = distance_transform_edt(~cavities) <= 2 * pore_voxel
        filled &= distance_transform_edt(~outside) > pore_voxel
        inner = slice(margin, -margin)
        body = body | filled[inner, inner, inner]
    return body
