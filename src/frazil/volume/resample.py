"""Boxes on another voxel grid: separable windowed-sinc (Lanczos) interpolation about a sub-voxel center.

One weight matrix per axis: ``out[z, y, x] = sum_ijk Wz[z, i] Wy[y, j] Wx[x, k] volume[i, j, k]``. Where the new voxels
are larger, the kernel is stretched with them, so that frequencies which the new grid cannot hold are removed and not
folded back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import distance_transform_edt

LOBES = 4
"""Half-width of the kernel in voxels of the coarser grid: Lanczos-4."""


@dataclass(frozen=True)
class AxisWeights:
    """What one axis of the old grid, from `start_voxel` on (may be negative), gives to one axis of the new.

    Every row of the `(new, old)` weights sums to 1, so that a constant stays as it is.
    """

    start_voxel: int
    weights: Float32[np.ndarray, "new old"]


def axis_weights(center_voxel: float, box_size_voxel: int, ratio: float) -> AxisWeights:
    """Return the weights for a line of `box_size_voxel` new voxels whose voxel D/2 lies exactly on `center_voxel`.

    The center is in voxels of the old grid and need not be whole; `ratio` is new voxel size / old voxel size.
    """
    positions = center_voxel + (np.arange(box_size_voxel) - box_size_voxel // 2) * ratio
    stretch = max(1.0, ratio)
    start = math.floor(positions[0] - LOBES * stretch)
    stop = math.ceil(positions[-1] + LOBES * stretch) + 1
    distance = (positions[:, None] - np.arange(start, stop)) / stretch
    weights = np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return AxisWeights(start, weights.astype(np.float32))


def resample(
    volume: Float[np.ndarray, "i j k"], weights: Sequence[Float[np.ndarray, "new old"]]
) -> Float[np.ndarray, "z y x"]:
    """Apply the matrices `(z, i)`, `(y, j)`, `(x, k)` to a block of the old grid, cut at the three `AxisWeights.start_voxel`."""
    weights_z, weights_y, weights_x = weights
    volume = np.matmul(weights_y, volume @ weights_x.T)
    return np.tensordot(weights_z, volume, axes=1)


def resample_measured(
    volume: Float[np.ndarray, "i j k"],
    measured: Bool[np.ndarray, "i j k"],
    weights: Sequence[Float[np.ndarray, "new old"]],
) -> tuple[Float[np.ndarray, "z y x"], Bool[np.ndarray, "z y x"]]:
    """Resample what was measured, and return where the new grid is measured.

    A new voxel counts as measured where at least half of its kernel's weight fell on measured voxels; others are 0. What the
    kernel reaches beyond them continues them: it is their reflection about the nearest one, in place and in gray value, so
    that neither padding nor the end of a slope shows beside it.
    """
    if measured.all():
        return resample(volume, weights), np.ones([len(axis) for axis in weights], dtype=bool)
    kept = resample(measured.astype(np.float32), weights) >= 0.5
    beyond = np.array(np.nonzero(~measured))
    nearest = distance_transform_edt(~measured, return_distances=False, return_indices=True)[(slice(None), *beyond)]
    across = 2 * nearest - beyond
    inside = np.clip(across, 0, np.array(volume.shape)[:, None] - 1)
    across = np.where((inside == across).all(axis=0) & measured[tuple(inside)], across, nearest)
    continued = volume.copy()
    continued[tuple(beyond)] = 2 * volume[tuple(nearest)] - volume[tuple(across)]
    return np.where(kept, resample(continued, weights), 0).astype(volume.dtype), kept
