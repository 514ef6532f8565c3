"""Gray value by distance from the center of the box, and the rings that hollow particles show.

The missing wedge stretches everything along z, so rings are looked for in the plane XY. Neighbors, noise and the rounding of
centers blur single volumes: a class is judged by its mean, and its volumes only by a contrast at a known radius.
Particles are dark: negative in z-scored volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from scipy import ndimage

STEP_VOXEL = 0.5
"""Between the radii of polar images."""

_DIRECTIONS = 36
_SECTORS = 12
_LEAST_RADIUS_VOXEL = 1.5  # anything smaller has no center to speak of


def radii_voxel(box_size_voxel: int) -> Float[np.ndarray, "radii"]:
    """Return the radii of polar images and of profiles in XY."""
    return STEP_VOXEL * np.arange(round((box_size_voxel // 2 - 1) / STEP_VOXEL) + 1)


def polar_image(volume: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "sectors radii"]:
    """Return the three central XY slices, averaged, by azimuth (sectors of 30 degrees) and radius around voxel D/2."""
    center = len(volume) // 2
    angles = 2 * np.pi * np.arange(_DIRECTIONS)[:, None] / _DIRECTIONS
    radii = radii_voxel(len(volume))
    at = np.stack([center + radii * np.sin(angles), center + radii * np.cos(angles)])
    directions = ndimage.map_coordinates(volume[center - 1 : center + 2].mean(axis=0), at, order=1)
    return np.asarray(directions.reshape(_SECTORS, -1, len(radii)).mean(axis=1))


def correlation(
    rows: Float[np.ndarray, "rows bins"], reference: Float[np.ndarray, "bins"]
) -> Float[np.ndarray, "rows"]:
    """Return the Pearson correlation of each row with the reference; NaN where one of them is constant."""
    rows = rows.astype(np.float64) - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    reference = reference.astype(np.float64) - reference.mean(dtype=np.float64)
    scale = np.linalg.norm(rows, axis=1) * np.linalg.norm(reference)
    return np.asarray(np.divide(rows @ reference, scale, out=np.full(len(rows), np.nan), where=scale > 0))


@dataclass(frozen=True)
class Ring:
    """The ring of a class, at the darkest place of its mean profile in XY.

    Parameters
    ----------
    depth : gray value at the center minus that of the ring, in standard deviations of a volume; a full particle has none.
    hollow : the center is nearer to the mean of the box than to the ring: half of the ring's contrast or more.
    """

    radius_voxel: float
    depth: float
    hollow: bool


def find_ring(profile: Float[np.ndarray, "radii"]) -> Ring:
    """Return the ring at the darkest place of a mean profile in XY, 1.5 voxels or more from the center."""
    radii = STEP_VOXEL * np.arange(len(profile))
    outward = np.flatnonzero(radii >= _LEAST_RADIUS_VOXEL)
    at = int(outward[np.argmin(profile[outward])])
    radius, darkest = _vertex(profile[None], np.array([at]))
    depth = float(_center(profile[None], float(radius[0]))[0] - darkest[0])
    return Ring(float(radius[0]), depth, bool(at < len(profile) - 1 and depth >= -0.5 * darkest[0] > 0))


def ring_depths(rows: Float[np.ndarray, "rows radii"], expected: Ring) -> Float[np.ndarray, "rows"]:
    """Return the depth of the ring in each mean profile: center minus the darkest place near the expected radius."""
    return np.asarray(_center(rows, expected.radius_voxel) - _vertex(rows, _darkest(rows, expected))[1])


def ring_radii(rows: Float[np.ndarray, "rows radii"], expected: Ring) -> Float[np.ndarray, "rows"]:
    """Return the radius of the ring in each mean profile, in voxels; NaN where there is none.

    There is one if the darkest place between 0.5 and 1.5 of the expected radius lies within that range, not at its ends, and
    a quarter of the expected depth or more below the center.
    """
    first, last = _window(rows.shape[1], expected.radius_voxel)
    darkest = _darkest(rows, expected)
    inside = (darkest > first) & (darkest < last)
    radius, _ = _vertex(rows, darkest)
    return np.where(inside & (ring_depths(rows, expected) >= expected.depth / 4), radius, np.nan)


def ring_spreads(rows: Float[np.ndarray, "rows sectors radii"], expected: Ring) -> Float[np.ndarray, "rows"]:
    """Return the standard deviation of the ring's radius over azimuth, in voxels; 0 is a circle around the center.

    NaN where the mean over azimuth has no ring.
    """
    flat = rows.reshape(-1, rows.shape[2])
    radius, _ = _vertex(flat, _darkest(flat, expected))
    spread = radius.reshape(rows.shape[:2]).std(axis=1)
    return np.where(np.isfinite(ring_radii(rows.mean(axis=1), expected)), spread, np.nan)


def contrast_at_ring(profiles: Float[np.ndarray, "n radii"], expected: Ring) -> Float[np.ndarray, "n"]:
    """Return the depth of each single volume at the expected radius: center minus the ring of one voxel to either side.

    Unlike the darkest place, a mean at a given radius does not take noise for a ring.
    """
    radii = STEP_VOXEL * np.arange(profiles.shape[1])
    ring = np.abs(radii - expected.radius_voxel) <= 1
    return np.asarray(_center(profiles, expected.radius_voxel) - profiles[:, ring].mean(axis=1))


def particle_radius_voxel(profile: Float[np.ndarray, "shells"]) -> float | None:
    """Return the radius at which a class ends: where its spherical profile rises past half of its darkest value for good.

    None where nothing is dark.
    """
    if not profile.min() < 0:
        return None
    last = int(np.flatnonzero(profile <= profile.min() / 2)[-1])
    if last == len(profile) - 1:
        return float(last)
    return last + float((profile.min() / 2 - profile[last]) / (profile[last + 1] - profile[last]))


def local_contrasts(profiles: Float[np.ndarray, "n shells"], radius_voxel: float) -> Float[np.ndarray, "n"]:
    """Return the mean of the surroundings minus that of the particle, for spherical profiles: positive for dark particles.

    The surroundings are a shell of six voxels, two voxels outside the particle, as far as the box goes (two voxels at least).
    """
    radii = np.arange(profiles.shape[1])
    start = min(radius_voxel + 2, len(radii) - 2)
    weights = np.where(radii > 0, np.square(radii) + 1 / 12, 1 / 24)  # volumes of shells of one voxel, over 4 pi
    inside = weights * (radii <= radius_voxel)
    around = weights * ((radii >= start) & (radii <= start + 6))
    return np.asarray(profiles @ (around / around.sum() - inside / inside.sum()))


def _window(count: int, radius_voxel: float) -> tuple[int, int]:
    """Return the first and the last index of the radii where a ring is looked for."""
    first = round(max(0.5 * radius_voxel, _LEAST_RADIUS_VOXEL) / STEP_VOXEL)
    return first, min(round(1.5 * radius_voxel / STEP_VOXEL), count - 1)


def _darkest(rows: Float[np.ndarray, "rows radii"], expected: Ring) -> Int64[np.ndarray, "rows"]:
    first, last = _window(rows.shape[1], expected.radius_voxel)
    return np.asarray(first + np.argmin(rows[:, first : last + 1], axis=1))


def _center(rows: Float[np.ndarray, "rows radii"], radius_voxel: float) -> Float[np.ndarray, "rows"]:
    """Return the mean over the disc within a third of the radius, by area."""
    radii = STEP_VOXEL * np.arange(rows.shape[1])
    weights = np.maximum(radii, STEP_VOXEL / 8) * (radii <= max(radius_voxel / 3, STEP_VOXEL))
    return np.asarray(rows @ (weights / weights.sum()))


def _vertex(
    rows: Float[np.ndarray, "rows radii"], at: Int64[np.ndarray, "rows"]
) -> tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
    """Return radius (voxels) and value of the parabola's vertex through each row's minimum and its two neighbors."""
    row = np.arange(len(rows))
    last = rows.shape[1] - 1
    below, here, above = (rows[row, np.clip(at + side, 0, last)].astype(np.float64) for side in (-1, 0, 1))
    bend = below - 2 * here + above
    lowest = (at > 0) & (at < last) & (here <= below) & (here <= above) & (bend > 0)
    shift = np.where(lowest, 0.5 * (below - above) / np.where(lowest, bend, 1), 0)
    return STEP_VOXEL * (at + shift), here - 0.25 * (below - above) * shift
