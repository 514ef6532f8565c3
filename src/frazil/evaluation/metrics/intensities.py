"""Distributions of grey values, as histograms that are cheap to pool and to draw from."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

LOWEST, WIDTH, BINS = -20.0, 0.02, 2000
"""Of the histograms, in standard deviations of a volume. The darkest voxel of real z-scored boxes is near -13."""


def grey_histogram(volume: Float[np.ndarray, "z y x"]) -> Float32[np.ndarray, "bins"]:
    """Return the share of the voxels in each bin; what lies beyond the bins counts in the outermost."""
    at = np.clip((volume.ravel() - LOWEST) / WIDTH, 0, BINS - 1).astype(np.int32)
    return (np.bincount(at, minlength=BINS) / at.size).astype(np.float32)


def wasserstein(one: Float[np.ndarray, "... bins"], other: Float[np.ndarray, "... bins"]) -> Float[np.ndarray, "..."]:
    """Return the Wasserstein distance of order 1 of two histograms: the area between their cumulative distributions.

    In standard deviations of a volume, to within the width of a bin (0.02).
    """
    difference = np.cumsum(one.astype(np.float64) - other, axis=-1)
    return np.asarray(WIDTH * np.abs(difference).sum(axis=-1))


def density(
    histogram: Float[np.ndarray, "... bins"], width: float = 0.25
) -> tuple[Float[np.ndarray, "merged"], Float[np.ndarray, "... merged"]]:
    """Return grey values between -12 and 6, and the share of the voxels per standard deviation there, to draw."""
    merged = round(width / WIDTH)
    first, last = (round((edge - LOWEST) / WIDTH) for edge in (-12, 6))
    last -= (last - first) % merged
    inside = histogram[..., first:last]
    share = inside.reshape(*inside.shape[:-1], -1, merged).sum(axis=-1) / (merged * WIDTH)
    return LOWEST + WIDTH * (first + merged * (np.arange(share.shape[-1]) + 0.5)), share
