"""Whether particles are dark, as everywhere in frazil, or bright."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

from frazil.core.console import warn
from frazil.core.settings import Contrast
from frazil.dataset.store import BoxStore
from frazil.dataset.tables import CENTER_VOXEL
from frazil.dataset.tomograms.store import TomogramStore
from frazil.volume.crop import box_start, crop
from frazil.volume.spheres import sphere_profile

_MOST_BOXES = 300
_LEAST_BOXES = 8
_STANDARD_ERRORS = 5.0
"""A shell of the mean particle counts if it stands out by so many."""

_EDGE = 3.0
"""Of what is cut around the particles of whole tomograms, in the radius of the largest class."""


def warn_of_contrast(store: BoxStore | TomogramStore) -> None:
    """Say that particles are bright, which frazil takes for holes in the ice."""
    given = store.description.source.contrast
    if given == "dark" or find_contrast(store) != "bright":
        return
    if given is None:
        warn(
            "the particles are bright, and frazil takes them for dark; repeat it with contrast bright (or dark, if that is right)"
        )
    else:
        warn("the particles are dark in the tomograms, and contrast bright inverted them; repeat it with contrast dark")


def find_contrast(store: BoxStore | TomogramStore) -> Contrast | None:
    """Return whether the particles of a store are darker or brighter than their surroundings; None where they do not stand out.

    The sign is that of the third moment of the mean particle, averaged over spherical shells. The center alone would be wrong
    for particles with a lumen, which is brighter than ice where protein is dark, and the mean alone for those that the CTF
    surrounds with a halo of the other sign: protein is what stands out most.
    """
    boxes = _around_particles(store) if isinstance(store, TomogramStore) else _boxes(store)
    profiles = np.array([sphere_profile(box) - np.median(box) for box in boxes])
    if len(profiles) < _LEAST_BOXES:
        return None
    mean, error = profiles.mean(axis=0), profiles.std(axis=0, ddof=1) / np.sqrt(len(profiles))
    mean[np.abs(mean) < _STANDARD_ERRORS * error] = 0
    moment = float((np.arange(len(mean)) ** 2 * mean**3).sum())
    return None if moment == 0 else "dark" if moment < 0 else "bright"


def _some(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_BOXES)).astype(int)).tolist() if count else []


def _boxes(store: BoxStore) -> Iterator[Float32[np.ndarray, "n n n"]]:
    return (store.z_scored(row, "measured") for row in _some(len(store)))


def _around_particles(store: TomogramStore) -> Iterator[Float32[np.ndarray, "n n n"]]:
    described, particles = store.description, store.particles
    edge = 2 * int(np.ceil(_EDGE / 2 * max(described.radii_angstrom.values()) / described.voxel_size_angstrom))
    starts = box_start(particles[CENTER_VOXEL].to_numpy(float), edge)
    for row in _some(len(particles)):
        volume = store.array(particles["run"].iloc[row])
        yield crop(volume, starts[row].tolist(), (edge,) * 3).astype(np.float32)
