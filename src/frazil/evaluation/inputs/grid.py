"""The grid on which real and generated volumes are compared: voxel size and box size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from frazil.core.errors import RequestError
from frazil.core.records import SAME_VOXEL_SIZE
from frazil.dataset.store import BoxStore
from frazil.volume.crop import crop
from frazil.volume.resample import AxisWeights, axis_weights, resample, resample_measured

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


def common_grid(real: BoxStore, generated: Path, there: Grid, *, resample: bool) -> Grid:
    """Return the grid for the comparison: the real voxel size, and the largest box that both have.

    Parameters
    ----------
    generated : where the generated volumes are, for the message.
    there : their grid.
    resample : bring them to the real voxel size, and crop the larger boxes.

    Raises
    ------
    RequestError : they differ and `resample` is not set, or nothing common is left.
    """
    here = Grid.of_store(real)
    ratio = here.voxel_size_angstrom / there.voxel_size_angstrom
    if abs(ratio - 1) < SAME_VOXEL_SIZE:
        ratio = 1.0
    if ratio == 1.0 and here.box_size_voxel == there.box_size_voxel:
        return here
    differs = (
        f"{generated}: boxes of {there.box_size_voxel} voxels of {there.voxel_size_angstrom:g} A, but {real.path} has "
        f"{here.box_size_voxel} voxels of {here.voxel_size_angstrom:g} A"
    )
    if not resample:
        remedy = "" if ratio == 1.0 else ", or --voxel-size with the true one if the header is wrong"
        raise RequestError(f"{differs}; pass --resample to compare at the real voxel size{remedy}")
    edge = int(there.box_size_voxel / ratio + SAME_VOXEL_SIZE)
    if edge < here.box_size_voxel:
        edge -= edge % 8  # all methods can halve it three times
    if edge < SMALLEST_BOX:
        raise RequestError(f"{differs}; fewer than {SMALLEST_BOX} voxels are common to both: generate larger boxes")
    return Grid(here.voxel_size_angstrom, min(edge, here.box_size_voxel))


def on_grid(voxels: Voxels, old: Grid, new: Grid) -> Voxels:
    """Bring a box to another voxel size and cut its middle out; voxel D/2, the center of the particle, stays voxel D/2.

    Parameters
    ----------
    voxels : a box, and which of its voxels were measured (None: all).
    """
    volume, measured = voxels
    center = old.box_size_voxel // 2
    ratio = new.voxel_size_angstrom / old.voxel_size_angstrom
    if abs(ratio - 1) < SAME_VOXEL_SIZE:
        start = [center - new.box_size_voxel // 2] * 3
        size = [new.box_size_voxel] * 3
        return crop(volume, start, size), None if measured is None else crop(measured, start, size)
    axis = axis_weights(center, new.box_size_voxel, ratio)
    if measured is None:
        inside = _inside(axis, old.box_size_voxel)
        return resample(volume, [inside] * 3).astype(np.float32), None
    start, size = [axis.start_voxel] * 3, [axis.weights.shape[1]] * 3
    return resample_measured(crop(volume, start, size), crop(measured, start, size), [axis.weights] * 3)


def _inside(axis: AxisWeights, edge: int) -> Float[np.ndarray, "new old"]:
    """Return the weights on the voxels of a whole box alone, summing to 1 again, so that no empty border bleeds in."""
    weights = np.zeros((len(axis.weights), edge))
    first, last = max(0, axis.start_voxel), min(edge, axis.start_voxel + axis.weights.shape[1])
    weights[:, first:last] = axis.weights[:, first - axis.start_voxel : last - axis.start_voxel]
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
