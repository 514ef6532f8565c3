"""What a user would try before a generator: particles pasted onto other backgrounds.

The other cheap rival, turns that keep the missing wedge, are an argument of `train_classifier`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.profiles import particle_radius_voxel
from frazil.evaluation.volumes import VolumeSet
from frazil.volume.crop import crop_center
from frazil.volume.intensity import moments, z_score
from frazil.volume.spheres import sphere_profile

MARGIN_VOXEL = 1.0
"""Beyond the radius of a particle that is cut out whole: for its blur and the rounding of its center."""

FADE_VOXEL = 3.0
"""Over which the pasted particle gives way to the background."""


def class_radii_voxel(volumes: VolumeSet) -> dict[str, float]:
    """Return the radius of each class: where the mean over its volumes has risen to half of its darkest value.

    A class whose mean shows nothing dark gets a quarter of the box: boxes are cut about twice as wide as particles.
    """
    radii = {}
    for label in volumes.classes:
        rows = np.flatnonzero(volumes.labels == label)
        mean = sum(volumes.volumes[row].astype(np.float64) for row in rows) / len(rows)  # without a copy of the class
        found = particle_radius_voxel(sphere_profile(mean))
        radii[label] = len(mean) / 4 if found is None else found
    return radii


def paste(
    particle: Float32[np.ndarray, "z y x"], background: Float32[np.ndarray, "z y x"], radius_voxel: float
) -> Float32[np.ndarray, "z y x"]:
    """Paste the ball around the center of `particle` onto the center of `background`; z-scored again.

    Weights are 1 up to `MARGIN_VOXEL` beyond the radius and fall as a cosine over `FADE_VOXEL`. No more than the box is taken.
    Nothing is turned, so the wedge of the particle is that of its tomogram; the seam is the price: the two textures
    do not continue each other there, in real space nor in the missing wedge.
    """
    weights = ball_weights(len(particle), radius_voxel)
    pasted = weights * particle + (1 - weights) * background
    return z_score(pasted, moments(pasted))


def ball_weights(edge_voxel: int, radius_voxel: float) -> Float32[np.ndarray, "z y x"]:
    """Return the weights of `paste`: 1 inside, 0 outside, around voxel D/2."""
    whole = min(radius_voxel + MARGIN_VOXEL, edge_voxel // 2 - 1 - FADE_VOXEL)
    axis = np.square(np.arange(edge_voxel) - edge_voxel // 2)
    distance = np.sqrt(axis[:, None, None] + axis[:, None] + axis)
    beyond = np.clip((distance - whole) / FADE_VOXEL, 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * beyond), np.float32)


def copy_paste(
    real: VolumeSet,
    rows: Sequence[int] | np.ndarray,
    *,
    radii_voxel: Mapping[str, float],
    edge_voxel: int,
    seed: int,
) -> VolumeSet:
    """Paste the particle of each of some real boxes onto another of them, in random order; it keeps its class.

    The ball that is taken has the radius of the larger of the two particles: a small particle brings its own near
    surroundings along, and nothing is left of the particle in the background.

    Parameters
    ----------
    rows : of the boxes to use, two or more.
    edge_voxel : of the central cube to keep of each result, which is z-scored before.
    """
    used = np.asarray(rows, dtype=np.int64)
    random = numpy_generator(seed, "copy-paste")
    places = random.permutation(len(used))
    particles = used[places]
    # any box but the particle's own
    backgrounds = used[(places + random.integers(1, len(used), size=len(used))) % len(used)]
    volumes = np.empty((len(used), *[edge_voxel] * 3), np.float32)
    for place, (particle, background) in enumerate(zip(particles, backgrounds, strict=True)):
        radius = max(radii_voxel[str(real.labels[row])] for row in (particle, background))
        volumes[place] = crop_center(paste(real.volumes[particle], real.volumes[background], radius), edge_voxel)
    names = tuple(
        f"{real.names[one]} on {real.names[other]}" for one, other in zip(particles, backgrounds, strict=True)
    )
    return VolumeSet(volumes, real.labels[particles], names, real.voxel_size_angstrom)
