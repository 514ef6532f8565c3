"""What a class looks like on average: its radial profile, its contrast and, where it is hollow, its ring.

The mean over the volumes of a class is right, since neighbors average out in it; the ring of a single volume is noisy.
"""

from __future__ import annotations

from operator import attrgetter

import numpy as np

from frazil.evaluation.metrics.group import Group
from frazil.evaluation.metrics.measurements import Measurements
from frazil.evaluation.metrics.metric import Metric
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

_PROFILE_XY = Metric(
    "profile_xy_correlation", "Radial profile in XY, correlation with real", "higher", question="right class"
)
_PROFILE_3D = Metric(
    "profile_3d_correlation", "Radial profile in 3D, correlation with real", "higher", question="right class"
)
_CONTRAST = Metric("particle_contrast", "Contrast of the particle against its surroundings", "as real", unit="σ")
_DEPTH = Metric("ring_depth", "Depth of the ring against its center", "as real", unit="σ")
_RADIUS_VOXEL = Metric("ring_radius_voxel", "Radius of the ring in voxels", "as real", unit="voxel")
_RADIUS_ANGSTROM = Metric("ring_radius_angstrom", "Radius of the ring in Å", "as real", unit="Å")
_SPREAD = Metric("ring_spread_voxel", "Roundness: spread of the ring's radius over azimuth", "lower", unit="voxel")
_SHARE = Metric("ring_share_percent", "Volumes with a ring half as deep as real ones, or deeper", "higher", unit="%")

_profile, _sphere = attrgetter("profile"), attrgetter("sphere")


def particle_scores(group: Group, voxel_size_angstrom: float) -> list[Score]:
    """Return the scores of one class; those of a ring only where the held-out volumes have one, except for its depth."""
    if not group.enough:
        return [group.unmeasured(metric) for metric in (_PROFILE_XY, _PROFILE_3D, _CONTRAST, _DEPTH)]
    profile, sphere = group.reference(_profile), group.reference(_sphere)
    scores = [
        group.score(_PROFILE_XY, _profile, lambda means: correlation(means, profile)),
        group.score(_PROFILE_3D, _sphere, lambda means: correlation(means, sphere)),
    ]
    if (radius := particle_radius_voxel(sphere)) is None:
        scores.append(group.unmeasured(_CONTRAST, "the mean of the held-out volumes has nothing dark at its center"))
    else:
        note = f"particle: {radius:.1f} voxels, to half of the darkest value of the held-out mean"
        scores.append(group.score(_CONTRAST, lambda one: local_contrasts(one.sphere, radius), note=note))
    ring = find_ring(profile)
    full = "" if ring.hollow else "the real class has no clear ring"
    scores.append(group.score(_DEPTH, _profile, lambda means: ring_depths(means, ring), note=full))
    return scores + _ring_scores(group, ring, voxel_size_angstrom) if ring.hollow else scores


def particle_plots(group: Group, voxel_size_angstrom: float) -> list[Plot]:
    """Return the mean profiles of one class, in XY and in 3D."""
    shells = group.measured["generated"].sphere.shape[1]
    radii = radii_voxel(2 * shells)
    x_title = f"distance from the center, voxels of {voxel_size_angstrom:.1f} Å"
    y_title = "mean gray value, σ (particles dark)"
    return [
        group.plot(name, f"Radial profile in {kind}", at, values, x_title=x_title, y_title=y_title)
        for name, kind, at, values in (
            ("profile_xy", "XY", radii, _profile),
            ("profile_3d", "3D", np.arange(shells, dtype=float), _sphere),
        )
    ]


def held_out_ring(held_out: Measurements) -> Ring | None:
    """Return the ring that the mean of held-out volumes of one class shows, if it is hollow."""
    ring = find_ring(held_out.profile.mean(axis=0))
    return ring if ring.hollow else None


def _ring_scores(group: Group, ring: Ring, voxel_size_angstrom: float) -> list[Score]:
    depth = contrast_at_ring(group.measured["held-out"].profile, ring).mean()
    scores = [
        group.score(_RADIUS_VOXEL, _profile, lambda means: ring_radii(means, ring)),
        group.score(_RADIUS_ANGSTROM, _profile, lambda means: voxel_size_angstrom * ring_radii(means, ring)),
        group.score(_SPREAD, lambda one: one.polar, lambda means: ring_spreads(means, ring)),
    ]
    none = f"no ring near {ring.radius_voxel:.1f} voxels"
    scores = [
        score.model_copy(update={"note": "; ".join(filter(None, (score.note, none)))}) if score.value is None else score
        for score in scores
    ]

    def has_ring(one: Measurements) -> np.ndarray:
        return np.asarray(contrast_at_ring(one.profile, ring) >= depth / 2, dtype=np.float64)

    # the weights of a draw sum to 1 but for rounding
    return [*scores, group.score(_SHARE, has_ring, lambda means: 100 * np.minimum(means, 1))]
