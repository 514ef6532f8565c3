"""The grid on which real and generated volumes are compared: voxel size and box size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from frazil.core.errors import RequestError
from frazil.core.records import SAME_VOXEL_SIZE, same_voxel_size
from frazil.dataset.store import BoxStore
from frazil.volume.crop import crop
from frazil.volume.resample import axis_weights, resample, resample_measured

SMALLEST_BOX = 8

Voxels = tuple[Float[np.ndarray, "z y x"], Bool[np.ndarray, "z y x"] | None]
"""A box, and which of its voxels were measured (None: all)."""


@dataclass(frozen=True)
class Grid:
    """Voxels on which real and generated volumes are compared: `box_size_voxel` in each direction."""

    voxel_size_angstrom: float
    box_size_voxel: int

    @classmethod
    def of_store(cls, store: BoxStore) -> Grid:
        """Return the grid of the boxes of a store."""
        return cls(store.description.voxel_size_angstrom, store.description.box_size_voxel)


def common_grid(real: Path, here: Grid, generated: Path, there: Grid, *, resample: bool) -> Grid:
    """Return the grid for the comparison: the voxel size of the real data, `here`, and the largest box that both have.

    Generated volumes on another grid, `there`, are refused unless `resample` allows to bring them to this one.
    """
    same = same_voxel_size(here.voxel_size_angstrom, there.voxel_size_angstrom)
    ratio = 1.0 if same else here.voxel_size_angstrom / there.voxel_size_angstrom
    if same and here.box_size_voxel == there.box_size_voxel:
        return here
    differs = (
        f"{generated}: boxes of {there.box_size_voxel} voxels of {there.voxel_size_angstrom:g} A, but {real} has "
        f"{here.box_size_voxel} voxels of {here.voxel_size_angstrom:g} A"
    )
    if not resample:
        remedy = "" if same else ", or the true voxel size if the header is wrong"
        raise RequestError(
            f"{differs}; pass --resample (in Python: resample=True) to compare at the real voxel size{remedy}"
        )
    edge = int(there.box_size_voxel / ratio + SAME_VOXEL_SIZE)
    if edge < here.box_size_voxel:
        edge -= edge % 8  # all methods can halve it three times
    if edge < SMALLEST_BOX:
        raise RequestError(f"{differs}; fewer than {SMALLEST_BOX} voxels are common to both: generate larger boxes")
    return Grid(here.voxel_size_angstrom, min(edge, here.box_size_voxel))


def on_grid(voxels: Voxels, old: Grid, new: Grid) -> Voxels:
    """Bring a box to another voxel size and cut its middle out; voxel D/2, the center of the particle, stays voxel D/2."""
    volume, measured = voxels
    center = old.box_size_voxel // 2
    if same_voxel_size(new.voxel_size_angstrom, old.voxel_size_angstrom):
        start, size = [center - new.box_size_voxel // 2] * 3, [new.box_size_voxel] * 3
        return crop(volume, start, size), None if measured is None else crop(measured, start, size)
    axis = axis_weights(center, new.box_size_voxel, new.voxel_size_angstrom / old.voxel_size_angstrom)
    width = axis.weights.shape[1]
    if measured is None:
        # the weights on voxels of the box alone, summing to 1 again, so that no empty border bleeds in
        inside = np.zeros((new.box_size_voxel, old.box_size_voxel))
        first, last = max(0, axis.start_voxel), min(old.box_size_voxel, axis.start_voxel + width)
        inside[:, first:last] = axis.weights[:, first - axis.start_voxel : last - axis.start_voxel]
        inside /= inside.sum(axis=1, keepdims=True)
        return resample(volume, [inside] * 3).astype(np.float32), None
    start, size = [axis.start_voxel] * 3, [width] * 3
    return resample_measured(crop(volume, start, size), crop(measured, start, size), [axis.weights] * 3)
