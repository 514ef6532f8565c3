"""What a simulation needs, as data. The presets that frazil brings along are `configs/simulation/*.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from frazil.core.presets import load_settings, names_in
from frazil.core.settings import Settings
from frazil.simulation.microscope.denoiser import DenoiserSettings
from frazil.simulation.microscope.microscope import MicroscopeSettings
from frazil.simulation.specimen.recipe import SpecimenSettings


class SimulationPreset(Settings):
    """Everything but the seed that decides how simulated tomograms look.

    Parameters
    ----------
    grey_std : standard deviation of the denoised tomogram's grey values; the back-projection gets the same factor.
    """

    name: Annotated[str, Field(min_length=1)]
    specimen: SpecimenSettings = SpecimenSettings()
    microscope: MicroscopeSettings = MicroscopeSettings()
    denoiser: DenoiserSettings = DenoiserSettings()
    grey_std: float = Field(6.6e-6, gt=0)


def simulation_preset_names() -> list[str]:
    """Return the names of the simulation presets that frazil brings along."""
    return names_in(files("frazil.configs") / "simulation")


def load_simulation_preset(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> SimulationPreset:
    """Load a simulation preset and put single settings over it.

    Parameters
    ----------
    name_or_path : a name (`simulation_preset_names`), or the path of a TOML file of the same form; structure files in it are
        looked for beside it.
    overrides : dotted key to value, e.g. ``{"microscope.tilts.step_degrees": 2}``.

    Raises
    ------
    SettingsError : as in `load_preset`.
    SimulationError : a value that cannot be simulated.
    """
    return load_settings(SimulationPreset, files("frazil.configs") / "simulation", str(name_or_path), overrides or {})
