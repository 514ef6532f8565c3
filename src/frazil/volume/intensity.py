"""Gray values: mean, standard deviation and the z-score of eq. 1, over all voxels of a box or over the measured ones.

Works on NumPy arrays, so that cutting boxes does not have to load torch.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from frazil.core.errors import ShapeError
from frazil.core.records import Moments

EPSILON = 1e-8
"""Added to the standard deviation in eq. 1; to one below 1, as a share of it, because gray values have any unit."""


def moments(volume: Float[np.ndarray, "z y x"], measured: Bool[np.ndarray, "z y x"] | None = None) -> Moments:
    """Return mean and unbiased standard deviation (as ``torch.std``) of the gray values, summed in float64.

    Only voxels where `measured` is True count; None counts all, padding included (the paper).
    """
    values = (volume.ravel() if measured is None else volume[measured]).astype(np.float64)
    if values.size < 2:
        raise ShapeError(f"a standard deviation needs two voxels or more, here are {values.size}")
    mean = float(values.mean())
    values -= mean
    # not ``values @ values``: BLAS would split each box among all cores, 50 x slower where boxes are cut in threads
    np.square(values, out=values)
    return Moments(mean, float(np.sqrt(values.sum() / (values.size - 1))))


def z_score(
    volume: Float[np.ndarray, "z y x"], statistics: Moments, measured: Bool[np.ndarray, "z y x"] | None = None
) -> Float32[np.ndarray, "z y x"]:
    """Return ``(x - mean) / (std + epsilon)`` (eq. 1) as float32; zeros where all gray values are the same.

    Where `measured` is given, voxels that were not measured become 0, the mean of the measured ones.
    """
    # float64: the mean can be large against the standard deviation
    width = statistics.std + EPSILON * min(statistics.std, 1.0) or 1.0
    scored = ((volume - np.float64(statistics.mean)) / width).astype(np.float32)
    if measured is not None:
        scored[~measured] = 0
    return scored
