"""One box out of one tomogram: its voxels, which of them were measured, its moments, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from frazil.core.records import Moments, Tomogram
from frazil.dataset.tables import Reason
from frazil.volume.crop import box_start, crop, crop_measured
from frazil.volume.intensity import moments
from frazil.volume.resample import axis_weights, resample_measured


@dataclass(frozen=True)
class CutBox:
    """A box that was cut: raw gray values, which voxels were measured, and the moments over all and over the measured ones.

    A voxel is measured if it lies inside the tomogram and in a chunk that is on disk; others are 0, and `padding` is their share.
    """

    volume: Float32[np.ndarray, "d d d"]
    measured: Bool[np.ndarray, "d d d"]
    padding: float
    padded_moments: Moments
    measured_moments: Moments


def cut_box(
    tomogram: Tomogram,
    center_voxel: Float[np.ndarray, "3"],
    *,
    box_size_voxel: int,
    ratio: float = 1.0,
    max_padding: float = 1.0,
) -> CutBox | Reason:
    """Cut the box around a particle, or return why there is none.

    Without resampling it is the paper's cube around the rounded center, zero-padded. With resampling its voxel D/2 lies
    exactly on the center. `ratio` is voxel size of the box / voxel size of the tomogram, in whose voxels the center is.
    """
    weights: tuple[Float32[np.ndarray, "new old"], ...] = ()
    start: Sequence[int] = [int(first) for first in box_start(center_voxel, box_size_voxel)]
    size = [box_size_voxel] * 3
    if ratio != 1.0:
        axes = [axis_weights(float(center), box_size_voxel, ratio) for center in center_voxel]
        weights = tuple(axis.weights for axis in axes)
        start, size = [axis.start_voxel for axis in axes], [axis.weights.shape[1] for axis in axes]
    volume = crop(tomogram.volume, [start[0] - tomogram.first_plane, *start[1:]], size)
    measured = crop_measured(tomogram.header.shape_voxel, tomogram.chunk_voxel, tomogram.chunk_present, start, size)
    whole = bool(measured.all())
    if not whole:
        volume[~measured] = 0
    if reason := _fault(volume if whole else volume[measured]):
        return reason
    if weights:
        volume, measured = resample_measured(volume, measured, weights)
        whole = bool(measured.all())
        if reason := _fault(volume if whole else volume[measured]):
            return reason
    padding = 1 - int(measured.sum()) / measured.size
    if padding > max_padding:
        return Reason.PADDED
    of_all = moments(volume)
    return CutBox(volume, measured, padding, of_all, of_all if whole else moments(volume, measured))


def box_planes(center_voxel: float, box_size_voxel: int, ratio: float) -> tuple[int, int]:
    """Return the first plane (z) of the tomogram that a box needs, and the one after its last; they may lie outside."""
    if ratio == 1.0:
        start = int(box_start(np.array([center_voxel]), box_size_voxel)[0])
        return start, start + box_size_voxel
    axis = axis_weights(center_voxel, box_size_voxel, ratio)
    return axis.start_voxel, axis.start_voxel + axis.weights.shape[1]


def _fault(values: Float[np.ndarray, "..."]) -> Reason | None:
    """Return why a box with these measured gray values is useless, None if it is not."""
    if not values.size:
        return Reason.ABSENT
    lowest, highest = float(values.min()), float(values.max())  # NaN passes through both
    if not np.isfinite(lowest) or not np.isfinite(highest):
        return Reason.NOT_FINITE
    return Reason.CONSTANT if lowest == highest else None
