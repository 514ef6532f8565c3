"""What a simulation needs, as data. The presets that frazil brings along are `configs/simulation/*.toml`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from frazil.settings import Settings
from frazil.simulation.denoiser import DenoiserSettings
from frazil.simulation.microscope import MicroscopeSettings
from frazil.simulation.recipe import SpecimenSettings


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
