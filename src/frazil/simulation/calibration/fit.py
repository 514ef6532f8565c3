"""Calibration: which acquisition and which denoiser make simulated tomograms look like real ones.

The picks of a real tomogram are simulated at their places, the piece that was really measured is cut out of the simulation, and
the two are compared by what does not depend on orientation or chance: spectra, wedge, skew and kurtosis of the gray values
(`frazil.volume.spectra`). The fit moves a few physical numbers of a preset; nothing is fitted voxel by voxel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import torch

from frazil.core.presets import override
from frazil.core.seeds import numpy_generator
from frazil.simulation.calibration.pieces import Measured, Piece
from frazil.simulation.microscope.denoiser import denoise
from frazil.simulation.microscope.microscope import image_filters, image_noise
from frazil.simulation.microscope.optics import draw_defocus_um
from frazil.simulation.microscope.projection import back_project, project
from frazil.simulation.microscope.tilts import acquire
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen.specimen import build_specimen
from frazil.simulation.specimen.surroundings import add_background
from frazil.volume.spectra import CURVES

TOLERANCE_DEX = 0.10  # difference of spectra and wedge that counts as one
SKEW_SCALE, KURTOSIS_SCALE = 0.3, 1.5  # differences of skew and excess kurtosis that count as much
FALL_SCALE_DEX = 0.3  # the same for the fall of power at the finer voxel, which is known to a digit at best
_BACKGROUND = "specimen.surroundings.background_protein_mg_per_ml"


@dataclass(frozen=True)
class Fitted:
    """A number of the preset that the fit may move, and by which share of its value in the first step."""

    key: str
    lowest: float
    highest: float
    step: float = 0.3


FITTED: tuple[Fitted, ...] = (
    Fitted("microscope.correction.wiener_snr", 1.0, 1e5, 0.5),
    Fitted("microscope.correction.wiener_falloff_angstrom", 1.0, 500.0),
    Fitted("microscope.correction.tilt_weight", 0.05, 8.0),
    Fitted("microscope.optics.defocus_um", 1.0, 8.0, 0.15),
    Fitted("microscope.optics.b_factor_angstrom2", 50.0, 5000.0, 0.5),
    Fitted("specimen.surroundings.background_protein_mg_per_ml", 0.1, 80.0),
    Fitted("denoiser.noise_left", 0.02, 1.0),
    Fitted("denoiser.resolution_angstrom", 8.0, 60.0, 0.2),
    Fitted("denoiser.steepness", 1.0, 40.0, 0.3),
    Fitted("denoiser.shrinkage", 0.05, 3.0),
    Fitted("denoiser.dark_saturation", 1.0, 50.0, 0.2),
    Fitted("denoiser.bright_saturation", 0.3, 50.0, 0.2),
)


def read_numbers(preset: SimulationPreset) -> dict[str, float]:
    """Return the fitted numbers of a preset; of a range its middle."""
    values: dict[str, Any] = {one.key: reduce(getattr, one.key.split("."), preset) for one in FITTED}
    return {key: float(np.mean(value)) for key, value in values.items()}


def with_numbers(preset: SimulationPreset, numbers: Mapping[str, float]) -> SimulationPreset:
    """Return the preset with other fitted numbers; a range, as that of the defocus, moves with its middle."""
    changes: dict[str, Any] = {}
    for key, value in numbers.items():
        before: Any = reduce(getattr, key.split("."), preset)
        if isinstance(before, tuple):
            half = (before[1] - before[0]) / 2
            changes[key] = (max(value - half, 0.0), value + half)
        else:
            changes[key] = value
    return override(preset, changes, preset.name)


class PreparedPiece:
    """A piece with all that does not depend on the fitted numbers: a change of these costs one back-projection.

    The preset is where the fit starts, and what it leaves alone.
    """

    def __init__(self, piece: Piece, preset: SimulationPreset, seed: int) -> None:
        self._piece = piece
        self._generator = partial(numpy_generator, seed, "calibration", piece.run, 0)
        self._real = Measured.of(piece.real)
        shape, voxel, optics = piece.simulated_voxel, piece.fine_angstrom, preset.microscope.optics
        settings = with_numbers(preset, {_BACKGROUND: 0.0}).specimen.for_tomogram(shape, voxel)
        specimen = build_specimen(settings, self._generator("specimen"), like=piece.likeness())
        self._background = max(preset.specimen.surroundings.background_protein_mg_per_ml, 1.0)
        background, solid = specimen.density.copy(), specimen.instances > 0
        add_background(background, solid, self._background, voxel, settings.slab, self._generator("background"))
        background -= specimen.density
        self._series = acquire(preset.microscope.tilts, self._generator("tilts"))
        angles = self._series.true_angles_degrees.tolist()
        self._particles = project(torch.from_numpy(specimen.density), angles)
        self._globules = project(torch.from_numpy(background), angles)
        ice = settings.ice_depth_angstrom
        self._noise = image_noise(shape, voxel, ice, self._series, optics, self._generator("noise"))

    def compare(self, preset: SimulationPreset) -> tuple[Measured, Measured]:
        """Return the real piece and its simulation with a preset."""
        piece, series, microscope = self._piece, self._series, preset.microscope
        shape, voxel = piece.simulated_voxel, piece.fine_angstrom
        defocus_um = draw_defocus_um(microscope.optics, len(series.angles_degrees), self._generator("defocus"))
        signal_filter, noise_filter = image_filters(shape, voxel, series, defocus_um, microscope)
        # Globules at random places: their power grows with their number, so their amplitude with its root.
        amplitude = math.sqrt(preset.specimen.surroundings.background_protein_mg_per_ml / self._background)
        images = (self._particles + amplitude * self._globules) * signal_filter
        images += preset.denoiser.noise_left * self._noise * noise_filter
        tomogram = back_project(images, shape, series.angles_degrees.tolist()).numpy()
        return self._real, piece.measure_simulated(denoise(tomogram, voxel, preset.denoiser))


def misfit(pairs: Sequence[tuple[Measured, Measured]], *, fine_fall_dex: float | None = None) -> float:
    """Return what the fit minimizes: the mean square of all differences in units of their tolerances.

    Differences of each real piece from its simulation are averaged over the pieces first: the pieces of a data set differ among
    each other, and the simulator should be like all of them. `fine_fall_dex` is None where it is not known of real tomograms.
    """
    looks = [(real.appearance, simulated.appearance) for real, simulated in pairs]
    curves = [
        np.mean([simulated.curve(name).log_power - real.curve(name).log_power for real, simulated in looks], axis=0)
        for name in CURVES
    ]
    squares = [float(np.nanmean(np.square(curve / TOLERANCE_DEX))) for curve in curves]
    skew = np.mean([simulated.skew - real.skew for real, simulated in looks])
    kurtosis = np.mean([simulated.kurtosis - real.kurtosis for real, simulated in looks])
    squares += [float(skew / SKEW_SCALE) ** 2, float(kurtosis / KURTOSIS_SCALE) ** 2]
    if fine_fall_dex is not None:
        fall = np.mean([simulated.fine_fall_dex for _, simulated in pairs])
        squares.append(float((fall - fine_fall_dex) / FALL_SCALE_DEX) ** 2)
    return sum(squares) / len(squares)


def search(
    start: Mapping[str, float], evaluate: Callable[[dict[str, float]], float], *, evaluations: int
) -> dict[str, float]:
    """Return the best numbers that a simplex search (Nelder & Mead) finds, on logarithmic scales, inside the bounds.

    The misfit is evaluated at most about `evaluations` times, always at the same numbers in the same order.
    """
    from scipy.optimize import minimize

    origin = np.log([np.clip(start[one.key], one.lowest, one.highest) for one in FITTED])
    simplex = np.vstack([origin, origin + np.diag([np.log1p(one.step) for one in FITTED])])
    visited: list[tuple[float, dict[str, float]]] = []

    def at(point: np.ndarray) -> float:
        numbers = {one.key: float(value) for one, value in zip(FITTED, np.exp(point), strict=True)}
        visited.append((evaluate(numbers), numbers))
        return visited[-1][0]

    minimize(
        at, origin, method="Nelder-Mead",
        bounds=[(np.log(one.lowest), np.log(one.highest)) for one in FITTED],
        options={"maxfev": evaluations, "initial_simplex": simplex, "adaptive": True, "fatol": 1e-4, "xatol": 1e-3},
    )  # fmt: skip
    return min(visited, key=lambda pair: pair[0])[1]
