"""Gray value by distance from the center of a box."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Int64


def sphere_profile(volume: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "shells"]:
    """Return the mean gray value in shells of one voxel around voxel D/2, at radii of 0, 1, ... D/2 - 1 voxels."""
    shell = _shells(len(volume))
    shells = len(volume) // 2
    counts = np.bincount(shell, minlength=shells + 1)[:shells]
    return np.asarray(np.bincount(shell, weights=volume.ravel(), minlength=shells + 1)[:shells] / counts)


def rotational_average(volume: Float[np.ndarray, "n n n"]) -> Float[np.ndarray, "n n n"]:
    """Return the mean over all rotations about voxel n/2; 0 beyond the last complete shell."""
    profile = sphere_profile(volume)
    return np.asarray(np.interp(distances(len(volume)), np.arange(len(profile)), profile, right=0))


def distances(box_size_voxel: int) -> Float[np.ndarray, "n n n"]:
    """Return the distance of each voxel of a cube from voxel D/2, in voxels."""
    axis = np.square(np.arange(box_size_voxel) - box_size_voxel // 2)
    return np.asarray(np.sqrt(axis[:, None, None] + axis[:, None] + axis))


@functools.lru_cache(maxsize=4)
def _shells(box_size_voxel: int) -> Int64[np.ndarray, "voxels"]:
    """Return the shell of each voxel; all beyond the last complete shell are in one more."""
    radius = distances(box_size_voxel).ravel()
    shell = np.minimum(np.rint(radius).astype(np.int64), box_size_voxel // 2)
    shell.setflags(write=False)  # shared by all callers
    return np.asarray(shell)
