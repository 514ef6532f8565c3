"""Orientations: any rotation as likely as any other, or a particle's own z axis drawn toward an axis of the specimen."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


def random_rotation(generator: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """Return a rotation, evenly spread over all of them (Haar measure)."""
    # A normal quaternion points in a uniform random direction, so its rotation is uniform.
    return np.asarray(Rotation.from_quat(generator.normal(size=4)).as_matrix())


def preferred_rotation(
    axis: Float[np.ndarray, "3"], concentration: float, generator: np.random.Generator
) -> Float[np.ndarray, "3 3"]:
    """Return a rotation that keeps the object's z axis near the unit vector `axis` or its opposite, and spins freely about it.

    Both senses are as likely: particles cling to either face of the ice, and the two faces see opposite sides. The
    concentration is kappa of the von Mises-Fisher distribution of the direction: 0 spreads it over the sphere, and a large one
    by ``1 / sqrt(kappa)`` radian to either side.
    """
    sense = generator.choice([-1.0, 1.0])
    direction = fisher_direction(sense * np.asarray(axis, dtype=float), concentration, generator)
    spin = generator.uniform(0, 2 * math.pi)
    first, second = _normals(direction)
    image_y = math.cos(spin) * first + math.sin(spin) * second
    image_x = math.cos(spin) * second - math.sin(spin) * first
    return np.stack([direction, image_y, image_x], axis=1)  # columns are the images of the object's z, y and x axes


def fisher_direction(
    axis: Float[np.ndarray, "3"], concentration: float, generator: np.random.Generator
) -> Float[np.ndarray, "3"]:
    """Return a direction with density proportional to ``exp(kappa cos(angle to the axis))`` (von Mises-Fisher).

    On a sphere the distribution of the cosine has a closed inverse (Fisher 1953).
    """
    uniform = 1 - generator.uniform()  # above 0, for the logarithm
    cosine = 2 * uniform - 1  # of no concentration
    if concentration > 0:
        cosine = 1 + math.log1p((1 - uniform) * math.expm1(-2 * concentration)) / concentration
    around = generator.uniform(0, 2 * math.pi)
    first, second = _normals(axis)
    sine = math.sqrt(max(1 - cosine**2, 0.0))
    return np.asarray(cosine * axis + sine * (math.cos(around) * first + math.sin(around) * second))


def _normals(direction: Float[np.ndarray, "3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Return two unit vectors normal to a direction, which complete it to a proper rotation."""
    first = np.cross(np.eye(3)[np.abs(direction).argmin()], direction)
    first /= np.linalg.norm(first)
    return first, np.cross(direction, first)
