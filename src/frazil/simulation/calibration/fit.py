"""The numbers of a preset that calibration moves, and the search for the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from jaxtyping import Float

from frazil.core.presets import override
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.structures.structure import StructureSettings

_STEP = 0.03  # of the logarithm of a number, for derivatives


@dataclass(frozen=True)
class Fitted:
    """A number of the preset that the fit may move, and by about which share of its value."""

    key: str
    lowest: float
    highest: float
    step: float = 0.3


FITTED: tuple[Fitted, ...] = (
    Fitted("microscope.correction.wiener_snr", 1.0, 1e5, 0.5),
    Fitted("microscope.correction.wiener_falloff_angstrom", 1.0, 500.0),
    Fitted("microscope.correction.tilt_weight", 0.05, 8.0),
    Fitted("microscope.correction.exact_thickness_angstrom", 50.0, 5000.0),
    Fitted("microscope.correction.level_off_angstrom", 20.0, 500.0),
    Fitted("microscope.correction.level_off", 0.01, 1.0),
    Fitted("microscope.optics.defocus_um", 1.0, 8.0, 0.15),
    Fitted("microscope.optics.b_factor_angstrom2", 50.0, 5000.0, 0.5),
    Fitted("specimen.surroundings.background_protein_mg_per_ml", 0.1, 80.0),
    Fitted("denoiser.noise_left", 0.02, 1.0),
    Fitted("denoiser.texture", 0.001, 1.0, 0.5),
    Fitted("denoiser.texture_angstrom", 1.0, 100.0, 0.5),
    Fitted("denoiser.resolution_angstrom.z", 8.0, 80.0, 0.2),
    Fitted("denoiser.resolution_angstrom.y", 8.0, 80.0, 0.2),
    Fitted("denoiser.resolution_angstrom.x", 8.0, 80.0, 0.2),
    Fitted("denoiser.steepness", 1.0, 40.0),
    Fitted("denoiser.shrinkage", 0.02, 3.0),
    Fitted("denoiser.dark_saturation", 1.0, 50.0, 0.2),
    Fitted("denoiser.bright_saturation", 0.3, 50.0, 0.2),
)


def read_numbers(preset: SimulationPreset) -> dict[str, float]:
    """Return the fitted numbers of a preset; of a range its middle."""
    numbers = {}
    for one in FITTED:
        key, axis = _split(one.key)
        value: Any = reduce(getattr, key.split("."), preset)
        numbers[one.key] = float(np.mean(value) if axis is None else value[axis])
    return numbers


def with_numbers(preset: SimulationPreset, numbers: Mapping[str, float]) -> SimulationPreset:
    """Return the preset with other fitted numbers; a range, as that of the defocus, moves with its middle."""
    changes: dict[str, Any] = {}
    for name, value in numbers.items():
        key, axis = _split(name)
        before: Any = changes.get(key, reduce(getattr, key.split("."), preset))
        if axis is not None:
            changes[key] = (*before[:axis], value, *before[axis + 1 :])
        elif isinstance(before, tuple):
            half = (before[1] - before[0]) / 2
            changes[key] = (max(value - half, 0.0), value + half)
        else:
            changes[key] = value
    return override(preset, changes, preset.name)


def with_masses(preset: SimulationPreset, masses_kda: Mapping[str, float]) -> SimulationPreset:
    """Return the preset with other masses of these classes, whose particles get more or less contrast."""
    entries = {entry.label: entry for entry in preset.specimen.structures}
    for label, mass_kda in masses_kda.items():
        entries[label] = entries.get(label, StructureSettings(label=label)).model_copy(update={"mass_kda": mass_kda})
    specimen = preset.specimen.model_copy(update={"structures": tuple(entries.values())})
    return preset.model_copy(update={"specimen": specimen})


def _split(name: str) -> tuple[str, int | None]:
    """Return the key of a number, and its index if it is one of three along z, y and x."""
    key, _, last = name.rpartition(".")
    return (key, "zyx".index(last)) if last in ("z", "y", "x") else (name, None)


def search(
    start: Mapping[str, float],
    differences: Callable[[dict[str, float]], Float[np.ndarray, "n"]],
    *,
    evaluations: int,
) -> dict[str, float]:
    """Return the best numbers that a trust region search (Branch, Coleman & Li 1999) finds, on logarithmic scales, inside bounds.

    It minimizes the sum of squares and makes at most `evaluations` simulations, always at the same numbers in the same order.
    """
    from scipy.optimize import least_squares

    lowest = np.array([one.lowest for one in FITTED])
    highest = 1 + np.log(np.array([one.highest for one in FITTED]) / lowest)  # in the search, the lowest is 1
    origin = 1 + np.log(np.maximum([start[one.key] for one in FITTED], lowest) / lowest).clip(1e-6, highest - 1 - 1e-6)
    visited: list[tuple[float, dict[str, float]]] = []

    def at(point: np.ndarray) -> Float[np.ndarray, "n"]:
        if len(visited) >= evaluations:
            raise _EnoughError
        numbers = {one.key: float(value) for one, value in zip(FITTED, lowest * np.exp(point - 1), strict=True)}
        found = differences(numbers)
        visited.append((float(np.square(found).sum()), numbers))
        return found

    with suppress(_EnoughError):
        least_squares(
            at, origin, bounds=(1, highest), diff_step=_STEP / origin,
            x_scale=[one.step for one in FITTED], xtol=1e-3, ftol=1e-3,
        )  # fmt: skip
    return min(visited, key=lambda pair: pair[0])[1]


class _EnoughError(Exception):
    """The search has made as many simulations as it may."""
