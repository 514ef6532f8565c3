"""Which structures can be put into the ice: built-in particles and distractors by label, maps and atomic models from files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from frazil.core.errors import SimulationError
from frazil.io.atoms import ATOM_SUFFIXES, is_atoms
from frazil.io.checks import check_name, mrc_stem
from frazil.simulation.structures.atomic_model import read_atomic_model
from frazil.simulation.structures.built_in import DISTRACTORS, PARTICLES
from frazil.simulation.structures.density_map import MapModel, read_map
from frazil.simulation.structures.grains import GrainModel
from frazil.simulation.structures.structure import StructureSettings

Structure = GrainModel | MapModel
"""A particle that can be drawn as a mass density over ice on any grid; see `GrainModel.density`."""

_MAP_SUFFIXES = (".mrc", ".map", ".ccp4", ".rec")
_BUILT_IN = PARTICLES | DISTRACTORS


def find_structures(entries: Iterable[StructureSettings]) -> dict[str, Structure]:
    """Return the structures by label, in the order of the entries."""
    found: dict[str, Structure] = {}
    for entry in entries:
        check_name(entry.label, "structure", SimulationError)
        if entry.label in found:
            raise SimulationError(f"{entry.label}: given twice; give every structure its own label")
        model = _built_in(entry) if entry.source is None else _from_file(entry, Path(entry.source))
        found[entry.label] = replace(model, patchiness=entry.patchiness, contents_kda=entry.contents_kda)
    return found


def _built_in(entry: StructureSettings) -> GrainModel:
    if entry.label not in _BUILT_IN:
        raise SimulationError(
            f"{entry.label}: no such structure; choose from {', '.join(_BUILT_IN)}, or give a file with a map or atoms"
        )
    model = _BUILT_IN[entry.label]
    mass_kda, radius_angstrom = entry.mass_kda or model.mass_kda, entry.radius_angstrom or model.radius_angstrom
    spread = model.size_spread if entry.size_spread is None else entry.size_spread
    return replace(model, mass_kda=mass_kda, radius_angstrom=radius_angstrom, size_spread=spread)


def _from_file(entry: StructureSettings, path: Path) -> Structure:
    atomic = is_atoms(path)
    if entry.label in _BUILT_IN:
        known = _built_in(entry)
        mass_kda = entry.mass_kda if atomic else known.mass_kda  # atoms say it themselves
        entry = entry.model_copy(update={"mass_kda": mass_kda, "radius_angstrom": known.radius_angstrom})
    if atomic:
        return read_atomic_model(path, entry)
    if mrc_stem(path) is not None:
        return read_map(path, entry)
    suffixes = ", ".join((*_MAP_SUFFIXES, *ATOM_SUFFIXES))
    raise SimulationError(f"{path}: neither a map nor atoms; give {entry.label} a file that ends in {suffixes}")
