"""What a simulation needs, as data. The bundled presets are `configs/simulation/*.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from frazil.core.console import warn
from frazil.core.presets import load_settings, override
from frazil.core.settings import Settings, VoxelSize
from frazil.simulation.microscope.denoiser import DenoiserSettings
from frazil.simulation.microscope.microscope import MicroscopeSettings
from frazil.simulation.specimen.settings import FULL_OF_ICE, SpecimenSettings
from frazil.simulation.structures.structure import StructureSettings

_FOLDER = files("frazil.configs") / "simulation"
_AMOUNTS = ("specimen.particles_per_class", "specimen.concentrations")
_GRID = ("specimen.shape_voxel", "specimen.voxel_size_angstrom")
_FULL_OF_ICE = {f"specimen.{key}": value for key, value in FULL_OF_ICE.items()}


class SimulationPreset(Settings):
    """Everything but the seed that decides how simulated tomograms look.

    Parameters
    ----------
    grey_std : standard deviation of the denoised tomogram's gray values; the back-projection gets the same factor.
    calibrated_on : digest of the gray values of each tomogram that it was calibrated on -> voxel size in angstrom.
    """

    name: Annotated[str, Field(min_length=1)]
    specimen: SpecimenSettings = SpecimenSettings()
    microscope: MicroscopeSettings = MicroscopeSettings()
    denoiser: DenoiserSettings = DenoiserSettings()
    grey_std: float = Field(6.6e-6, gt=0)
    calibrated_on: dict[str, VoxelSize] | None = None

    def with_structures(self, sources: Mapping[str, str | Path]) -> SimulationPreset:
        """Return the preset with structures from files, by label, instead of its own; all sources as absolute paths."""
        entries = [entry for entry in self.specimen.structures if entry.label not in sources]
        entries += [StructureSettings(label=label, source=str(path)) for label, path in sources.items()]
        resolved = tuple(
            entry.model_copy(update={"source": entry.source and str(Path(entry.source).resolve())}) for entry in entries
        )
        return self.model_copy(update={"specimen": self.specimen.model_copy(update={"structures": resolved})})


def load_simulation_preset(
    preset: SimulationPreset | str | Path, overrides: Mapping[str, Any] | None = None
) -> SimulationPreset:
    """Load a simulation preset and override single settings.

    Concentrations replace the preset's counts, and counts its concentrations. If another shape or voxel size makes the
    tomogram thinner than the preset's ice, ice fills it.

    Structure files in a TOML file are found relative to it; settings go by dotted key (``microscope.tilts.step_degrees``).
    """
    if not isinstance(preset, SimulationPreset):
        preset = load_settings(SimulationPreset, _FOLDER, str(preset), {})
    changes = dict(overrides or {})
    for given, other in (_AMOUNTS, _AMOUNTS[::-1]):
        if any(key.startswith(given) for key in changes):
            changes.setdefault(other, None)
    if changes.keys() & set(_GRID) and not any(key in changes for key in _FULL_OF_ICE):
        grid = {key: changes[key] for key in _GRID if key in changes}
        asked = override(preset, grid | _FULL_OF_ICE, preset.name).specimen
        if preset.specimen.is_ice_too_thick(asked.shape_voxel, asked.voxel_size_angstrom):
            changes |= _FULL_OF_ICE
            warn(
                f"ice: {preset.specimen.ice_thickness_angstrom:g} A thick in preset {preset.name}, but the tomogram is only "
                f"{asked.shape_voxel[0] * asked.voxel_size_angstrom:g} A deep: ice fills it; ice thickness sets another"
            )
    return override(preset, changes, preset.name) if changes else preset
