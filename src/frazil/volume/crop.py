"""Blocks of a tomogram, zero-padded where it ends, and which of their voxels were measured; the middle of a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from frazil.core.errors import ShapeError


def box_start(center_voxel: Float[np.ndarray, "... 3"], box_size_voxel: int) -> Int64[np.ndarray, "... 3"]:
    """Return the first voxel of the box around a center: the box is ``[round(c) - D/2, round(c) + D/2)`` (the paper).

    Whole numbers are centers of voxels; halves round to the even neighbor.
    """
    nearest: Int64[np.ndarray, "... 3"] = np.rint(center_voxel).astype(np.int64)
    return nearest - box_size_voxel // 2


def crop(
    volume: Shaped[np.ndarray, "z y x"], start_voxel: Sequence[int], size_voxel: Sequence[int]
) -> Shaped[np.ndarray, "dz dy dx"]:
    """Copy a block out of `volume`; voxels beyond the volume are 0. Its first voxel (zyx) may be negative."""
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
    """Return which voxels of a block (as in `crop`) were measured: those inside the tomogram and in a chunk that is on disk.

    `shape_voxel` and `chunk_voxel` are the zyx edges of the tomogram and of a storage chunk.
    """
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


def crop_center(
    volumes: Shaped[np.ndarray, "... z y x"], edge_voxel: int, shift_voxel: Sequence[int] = (0, 0, 0)
) -> Shaped[np.ndarray, "... e e e"]:
    """Return the cube around voxel ``D/2 + shift`` (zyx), which comes to lie at voxel ``edge / 2``; a view."""
    starts = [edge // 2 + shift - edge_voxel // 2 for edge, shift in zip(volumes.shape[-3:], shift_voxel, strict=True)]
    ends = [start + edge_voxel for start in starts]
    if min(starts) < 0 or any(end > edge for end, edge in zip(ends, volumes.shape[-3:], strict=True)):
        raise ShapeError(
            f"a cube of {edge_voxel} voxels, moved by {tuple(map(int, shift_voxel))}, reaches beyond the volume of "
            f"{tuple(volumes.shape[-3:])}; take a smaller cube or move it less"
        )
    z, y, x = (slice(start, end) for start, end in zip(starts, ends, strict=True))
    return volumes[..., z, y, x]
