"""Cubes cut from a tomogram, zero-padded where there is nothing, and which of their voxels were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from frazil.core.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Int64


def box_start(center_voxel: Float[np.ndarray, "... 3"], box_size_voxel: int) -> Int64[np.ndarray, "... 3"]:
    """Return the first voxel of the box around a centre: the box is ``[round(c) - D/2, round(c) + D/2)`` (the paper).

    Parameters
    ----------
    center_voxel : `(..., 3)` zyx; whole numbers are centres of voxels. Halves round to the even neighbour.
    box_size_voxel : edge D of the box.
    """
    nearest: Int64[np.ndarray, "... 3"] = np.rint(center_voxel).astype(np.int64)
    return nearest - box_size_voxel // 2


def crop(
    volume: Float[np.ndarray, "z y x"], start_voxel: Sequence[int], size_voxel: Sequence[int]
) -> Float[np.ndarray, "dz dy dx"]:
    """Copy a block out of `volume`; voxels beyond the volume are 0.

    Parameters
    ----------
    volume : `(z, y, x)`.
    start_voxel : first voxel of the block, zyx; may be negative.
    size_voxel : edges of the block, zyx.

    Raises
    ------
    ShapeError : the volume is not three-dimensional.
    """
    if volume.ndim != 3:
        raise ShapeError(f"a tomogram has three axes (z, y, x), this one has the shape {volume.shape}")
    ends = zip(start_voxel, size_voxel, volume.shape, strict=True)
    low, high = np.array([np.clip((start, start + size), 0, edge) for start, size, edge in ends]).T
    inside = volume[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    if inside.shape == tuple(size_voxel):
        return inside.copy()
    block = np.zeros(tuple(size_voxel), dtype=volume.dtype)
    block[tuple(slice(a, b) for a, b in zip(low - start_voxel, high - start_voxel, strict=True))] = inside
    return block


def crop_measured(
    shape_voxel: Sequence[int],
    chunk_voxel: Sequence[int],
    chunk_present: Bool[np.ndarray, "cz cy cx"],
    start_voxel: Sequence[int],
    size_voxel: Sequence[int],
) -> Bool[np.ndarray, "dz dy dx"]:
    """Say which voxels of a block were measured: those inside the tomogram and in a chunk that is on disk.

    Parameters
    ----------
    shape_voxel : edges of the tomogram, zyx.
    chunk_voxel : edges of a storage chunk, zyx.
    chunk_present : False where a chunk is absent on disk.
    start_voxel, size_voxel : the block, as in `crop`.

    Raises
    ------
    ShapeError : there are fewer chunks than the tomogram needs.
    """
    needed = tuple(-(-edge // chunk) for edge, chunk in zip(shape_voxel, chunk_voxel, strict=True))
    if chunk_present.shape != needed:
        raise ShapeError(
            f"a tomogram of {tuple(shape_voxel)} voxels in chunks of {tuple(chunk_voxel)} has {needed} chunks, "
            f"not {chunk_present.shape}"
        )
    positions = [int(start) + np.arange(size) for start, size in zip(start_voxel, size_voxel, strict=True)]
    inside = [(p >= 0) & (p < edge) for p, edge in zip(positions, shape_voxel, strict=True)]
    chunks = [
        np.clip(p, 0, edge - 1) // chunk for p, edge, chunk in zip(positions, shape_voxel, chunk_voxel, strict=True)
    ]
    touched = chunk_present[tuple(slice(c[0], c[-1] + 1) for c in chunks)]
    if touched.all() and all(axis.all() for axis in inside):
        return np.ones(tuple(size_voxel), dtype=bool)
    measured = inside[0][:, None, None] & inside[1][:, None] & inside[2]
    if not touched.all():
        measured &= chunk_present[np.ix_(*chunks)]
    return measured
