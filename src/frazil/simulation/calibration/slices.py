"""Calibration on slices or curves of real subtomograms: simulated ones are those around the particles of random specimens."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from frazil.core.errors import SettingsError
from frazil.core.slices import DIRECTIONS, SliceCurves, SliceSet
from frazil.dataset.slices import RealSlices
from frazil.plots.slice_curves import slice_curves_page
from frazil.simulation.calibration.goals import Check, Outcome, Scene, calibration_stream, join_differences, spread_of
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen.settings import SpecimenSettings
from frazil.simulation.specimen.specimen import PlacedParticles
from frazil.simulation.tomogram import simulate_tomogram
from frazil.volume.slices import curve_distances, halves_floor, measure_slices

_SCENES = 3
_EDGES = 3.4  # of a subtomogram, along y and x of a specimen

# Differences that count as one in the search.
_PLANE_DEX, _SPECTRUM_DEX, _WEDGE_DEX = 0.12, 0.05, 0.06
_SKEW, _KURTOSIS, _BACKGROUND_KURTOSIS, _BACKGROUND_STD, _PROFILE = 0.1, 0.5, 0.3, 0.03, 0.3
_QUANTILES = np.array([0.6, 0.4, 0.25, 0.1, 0.1, 0.15, 0.2])

# What the checks should stay within; profiles are reported as 1 - correlation.
_TOLERANCES = {
    "spectrum": 0.07,
    "spectrum XY": 0.2,
    "spectrum XZ": 0.2,
    "spectrum YZ": 0.2,
    "sectors": 0.2,
    "wedge": 0.06,
    "skew": 0.1,
    "excess kurtosis": 0.5,
    "background skew": 0.15,
    "background std": 0.04,
    "quantile 99.9 %": 0.25,
    "profile": 0.05,
}


class SliceGoal:
    """Slices or curves of real subtomograms, compared with those around the particles of random specimens of the preset."""

    def __init__(self, real: RealSlices, preset: SimulationPreset, seed: int) -> None:
        curves = real.curves
        missing = sorted(set(curves.radial_profile) - set(preset.specimen.amounts))
        if missing:
            raise SettingsError(f"{', '.join(missing)}: in the slices, but not in preset {preset.name}; add it there")
        self.name = f"{curves.subtomograms} subtomograms, {curves.voxel_size_angstrom:.3g} A"
        self._real, self._preset, self._seed = real, preset, seed
        self._scenes: list[Scene] = []

    def build(self) -> None:
        """See `Goal`."""
        settings = scene_settings(self._preset.specimen, self._real.curves)
        stream = partial(calibration_stream, self._seed)
        self._scenes = [Scene(settings, self._preset, partial(stream, f"{self.name} {i}")) for i in range(_SCENES)]

    def problem(self) -> dict[str, Any]:
        """Return what is fitted to; see `Goal`."""
        curves = self._real.curves
        return {
            "kind": "slices",
            "subtomograms": curves.subtomograms,
            "voxel_size_angstrom": curves.voxel_size_angstrom,
            "digest": hashlib.sha256(curves.model_dump_json().encode()).hexdigest(),
        }

    def differences(self, preset: SimulationPreset) -> Float[np.ndarray, "n"]:
        """Return the differences; see `Goal`."""
        placed = [(scene.tomogram(preset), scene.placed) for scene in self._scenes]
        return slice_differences(self._real.curves, measure_particles(placed, self._real))

    def check(self, preset: SimulationPreset, seeds: Iterator[int]) -> Outcome:
        """Compare with fresh simulations, each of as many specimens as the search had; see `Goal`."""
        preset = preset.model_copy(update={"specimen": scene_settings(preset.specimen, self._real.curves)})
        each = []
        for seed in seeds:
            tomograms = [simulate_tomogram(preset, seed, index) for index in range(_SCENES)]
            placed = [(tomogram.denoised, tomogram.specimen.placed) for tomogram in tomograms]
            each.append(measure_particles(placed, self._real))
        distances = [curve_distances(curves, self._real.curves) for curves in each]
        measured = self._real.measurements
        floor = halves_floor(measured) if measured is not None and len(measured) > 1 else {}
        checks = []
        for name, tolerance in _TOLERANCES.items():
            values = [1 - one[name] if name == "profile" else one[name] for one in distances]
            own = floor.get(name)
            own = 1 - own if own is not None and name == "profile" else own
            shown = "profiles, 1 - correlation" if name == "profile" else name
            checks.append(Check(self.name, shown, float(np.mean(values)), spread_of(values), own, tolerance))
        return Outcome(checks, slice_curves_page(self._real.curves, each, name=self.name), None)


def slice_differences(real: SliceCurves, simulated: SliceCurves) -> Float[np.ndarray, "n"]:
    """Return the differences of simulated curves from real ones in tolerances, each kind's squares summed to their mean."""
    at = np.asarray(real.cycles_per_voxel)
    power = [np.interp(at, simulated.cycles_per_voxel, _floats(curve)) for curve in simulated.log10_power]
    power = np.asarray(power) - _floats(real.log10_power)
    sectors = [np.subtract(_floats(simulated.sectors[name]), _floats(real.sectors[name])) for name in DIRECTIONS]
    profiles = [
        _standardized(simulated.radial_profile[label]) - _standardized(profile)
        for label, profile in real.radial_profile.items()
        if label in simulated.radial_profile
    ]
    return join_differences(
        [
            power / _PLANE_DEX,
            power.mean(axis=0) / _SPECTRUM_DEX,
            np.asarray(sectors) / _PLANE_DEX,
            (_floats(simulated.wedge_log10_power) - _floats(real.wedge_log10_power)) / _WEDGE_DEX,
            np.array([simulated.skew - real.skew]) / _SKEW,
            np.array([simulated.excess_kurtosis - real.excess_kurtosis]) / _KURTOSIS,
            np.array([simulated.background_skew - real.background_skew]) / _SKEW,
            np.array([simulated.background_std - real.background_std]) / _BACKGROUND_STD,
            np.array([simulated.background_excess_kurtosis - real.background_excess_kurtosis]) / _BACKGROUND_KURTOSIS,
            (_floats(simulated.quantiles) - _floats(real.quantiles)) / _QUANTILES,
            np.concatenate(profiles) / _PROFILE,
        ]
    )


def scene_settings(settings: SpecimenSettings, curves: SliceCurves) -> SpecimenSettings:
    """Return a specimen as deep as a tomogram but narrower, as crowded, with at least two particles of each measured class."""
    voxel = curves.voxel_size_angstrom
    side = round(_EDGES * curves.edge_voxel / 8) * 8
    depth, height, width = (round(edge * settings.voxel_size_angstrom / voxel) for edge in settings.shape_voxel)
    narrower = settings.for_tomogram((max(depth, curves.edge_voxel), side, side), voxel)
    if settings.particles_per_class is None:
        return narrower
    share = side**2 / (height * width)
    counts = {
        label: max(math.ceil(count * share), 2 if label in curves.radial_profile else 0)
        for label, count in settings.particles_per_class.items()
    }
    return narrower.model_copy(update={"particles_per_class": {label: n for label, n in counts.items() if n}})


def measure_particles(
    scenes: Iterable[tuple[Float[np.ndarray, "z y x"], Sequence[PlacedParticles]]], real: RealSlices
) -> SliceCurves:
    """Return the curves of the subtomograms around particles, classes mixed as in the real ones."""
    edge, voxel = real.curves.edge_voxel, real.curves.voxel_size_angstrom
    volumes, labels = [], []
    for tomogram, placed in scenes:
        for particles in placed:
            for start in np.rint(particles.centers_angstrom / voxel).astype(int) - edge // 2:
                if (start >= 0).all() and (start + edge <= tomogram.shape).all():
                    volumes.append(tomogram[tuple(slice(at, at + edge) for at in start)])
                    labels.append(particles.structure.label)
    return measure_slices(SliceSet.of_volumes(volumes, labels, voxel)).curves(class_weights=real.class_weights)


def _standardized(profile: Sequence[float | None]) -> Float[np.ndarray, "radii"]:
    values = _floats(profile)
    return np.asarray((values - values.mean()) / values.std())


def _floats(numbers: object) -> Float[np.ndarray, "..."]:
    return np.array(numbers, dtype=np.float64)
