"""The numbers of a simulation preset that a calibration may move: which, between which bounds, and how to read and replace them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frazil.simulation.preset import SimulationPreset


@dataclass(frozen=True)
class Fitted:
    """A number of the preset that the fit may move.

    Parameters
    ----------
    key : dotted place in the preset.
    lowest, highest : bounds.
    step : first step of the search, as a share of the value (numbers are searched on a logarithmic scale).
    """

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


def with_numbers(preset: SimulationPreset, numbers: Mapping[str, float]) -> SimulationPreset:
    """Return the preset with other fitted numbers; a range, as that of the defocus, moves with its middle."""
    content = preset.model_dump()
    for key, value in numbers.items():
        *tables, last = key.split(".")
        table: dict[str, Any] = content
        for name in tables:
            table = table[name]
        if isinstance(table[last], (tuple, list)):
            half = (table[last][1] - table[last][0]) / 2
            table[last] = (max(value - half, 0.0), value + half)
        else:
            table[last] = value
    return SimulationPreset.model_validate(content)


def read_number(preset: SimulationPreset, key: str) -> float:
    """Return a fitted number of a preset; the middle of a range."""
    value: Any = preset
    for name in key.split("."):
        value = getattr(value, name)
    return float(np.mean(value))
