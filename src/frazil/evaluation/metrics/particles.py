"""What a class looks like on average: its radial profile, its contrast and, where it is hollow, its ring.

The mean over the volumes of a class is right, since neighbours average out in it; the ring of a single volume is noisy.
"""

from __future__ import annotations

import numpy as np

from frazil.evaluation.metrics.comparison import Comparison, Metric
from frazil.evaluation.metrics.measurements import Measurements
from frazil.evaluation.metrics.profiles import (
    Ring,
    contrast_at_ring,
    correlation,
    find_ring,
    local_contrasts,
    particle_radius_voxel,
    radii_voxel,
    ring_depths,
    ring_radii,
    ring_spreads,
)
from frazil.evaluation.scores import Plot, Score

_PROFILE_XY = Metric("profile_xy_correlation", "Radial profile in XY, correlation with real", "higher", "right class")
_PROFILE_3D = Metric("profile_3d_correlation", "Radial profile in 3D, correlation with real", "higher", "right class")
_CONTRAST = Metric("particle_contrast", "Contrast of the particle against its surroundings", "as real", unit="σ")
_DEPTH = Metric("ring_depth", "Depth of the ring against its centre", "as real", unit="σ")
_RADIUS_VOXEL = Metric("ring_radius_voxel", "Radius of the ring in voxels", "as real", unit="voxel")
_RADIUS_ANGSTROM = Metric("ring_radius_angstrom", "Radius of the ring in Å", "as real", unit="Å")
_SPREAD = Metric("ring_spread_voxel", "Roundness: spread of the ring's radius over azimuth", "lower", unit="voxel")
_SHARE = Metric("ring_share_percent", "Volumes with a ring half as deep as real ones, or deeper", "higher", unit="%")


def particle_scores(comparison: Comparison, voxel_size_angstrom: float) -> list[Score]:
    """Return the scores of one class; those of a ring only where the held-out volumes have one, except for its depth."""
    always = (_PROFILE_XY, _PROFILE_3D, _CONTRAST, _DEPTH)
    if not comparison.enough:
        return [comparison.unmeasured(metric) for metric in always]
    profile = comparison.reference(_profile)
    sphere = comparison.reference(_sphere)
    scores = [
        comparison.score(_PROFILE_XY, _profile, lambda means: correlation(means, profile)),
        comparison.score(_PROFILE_3D, _sphere, lambda means: correlation(means, sphere)),
        _contrast(comparison, sphere),
    ]
    ring = find_ring(profile)
    full = "" if ring.hollow else "the real class has no clear ring"
    scores.append(comparison.score(_DEPTH, _profile, lambda means: ring_depths(means, ring), note=full))
    return scores + _ring_scores(comparison, ring, voxel_size_angstrom) if ring.hollow else scores


def particle_plots(comparison: Comparison, voxel_size_angstrom: float) -> list[Plot]:
    """Return the mean profiles of one class, in XY and in 3D."""
    one = comparison.measured["generated"]
    x_title = f"distance from the centre, voxels of {voxel_size_angstrom:.1f} Å"
    y_title = "mean grey value, σ (particles dark)"
    shells = one.sphere.shape[1]
    radii = radii_voxel(2 * shells)
    names = ("profile_xy", "Radial profile in XY"), ("profile_3d", "Radial profile in 3D")
    return [
        comparison.plot(*names[0], radii, _profile, x_title=x_title, y_title=y_title),
        comparison.plot(*names[1], np.arange(shells, dtype=float), _sphere, x_title=x_title, y_title=y_title),
    ]


def held_out_ring(held_out: Measurements) -> Ring | None:
    """Return the ring that the mean of held-out volumes of one class shows, if it is hollow."""
    ring = find_ring(_profile(held_out).mean(axis=0))
    return ring if ring.hollow else None


def _ring_scores(comparison: Comparison, ring: Ring, voxel_size_angstrom: float) -> list[Score]:
    held_out = contrast_at_ring(_profile(comparison.measured["held-out"]), ring).mean()
    scores = [
        comparison.score(_RADIUS_VOXEL, _profile, lambda means: ring_radii(means, ring)),
        comparison.score(_RADIUS_ANGSTROM, _profile, lambda means: voxel_size_angstrom * ring_radii(means, ring)),
        comparison.score(_SPREAD, lambda one: one.polar, lambda means: ring_spreads(means, ring)),
    ]
    none = f"no ring near {ring.radius_voxel:.1f} voxels"
    scores = [
        score
        if score.value is not None
        else score.model_copy(update={"note": "; ".join(filter(None, [score.note, none]))})
        for score in scores
    ]

    def has_ring(one: Measurements) -> np.ndarray:
        return np.asarray(contrast_at_ring(_profile(one), ring) >= held_out / 2, dtype=np.float64)

    # the weights of a draw sum to 1 but for rounding
    return [*scores, comparison.score(_SHARE, has_ring, lambda means: 100 * np.minimum(means, 1))]


def _contrast(comparison: Comparison, sphere: np.ndarray) -> Score:
    radius = particle_radius_voxel(sphere)
    if radius is None:
        return comparison.unmeasured(_CONTRAST, "the mean of the held-out volumes has nothing dark at its centre")
    note = f"particle: {radius:.1f} voxels, to half of the darkest value of the held-out mean"
    return comparison.score(_CONTRAST, lambda one: local_contrasts(one.sphere, radius), lambda means: means, note=note)


def _profile(one: Measurements) -> np.ndarray:
    return one.profile


def _sphere(one: Measurements) -> np.ndarray:
    return one.sphere
