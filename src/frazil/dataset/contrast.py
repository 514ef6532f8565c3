"""Whether particles are dark, as everywhere in frazil, or bright."""

from __future__ import annotations

import numpy as np

from frazil.core.settings import Contrast
from frazil.dataset.store import BoxStore
from frazil.volume.spheres import sphere_profile

_MOST_BOXES = 300
_LEAST_BOXES = 8
_STANDARD_ERRORS = 5.0
"""A shell of the mean particle counts if it stands out by so many."""


def find_contrast(store: BoxStore) -> Contrast | None:
    """Return whether the particles of a store are darker or brighter than their surroundings; None where they do not stand out.

    The sign is that of the third moment of the mean particle, averaged over spherical shells. The center alone would be wrong
    for particles with a lumen, which is brighter than ice where protein is dark, and the mean alone for those that the CTF
    surrounds with a halo of the other sign: protein is what stands out most.
    """
    rows = np.unique(np.linspace(0, len(store) - 1, min(len(store), _MOST_BOXES)).astype(int))
    if len(rows) < _LEAST_BOXES:
        return None
    boxes = (store.z_scored(int(row), "measured") for row in rows)
    profiles = np.stack([sphere_profile(box) - np.median(box) for box in boxes])
    mean, error = profiles.mean(axis=0), profiles.std(axis=0, ddof=1) / np.sqrt(len(rows))
    mean[np.abs(mean) < _STANDARD_ERRORS * error] = 0
    moment = float((np.arange(len(mean)) ** 2 * mean**3).sum())
    return None if moment == 0 else "dark" if moment < 0 else "bright"
