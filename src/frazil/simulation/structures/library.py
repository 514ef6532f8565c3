"""The library of structures: what can be put into the ice.

A structure is a mass density over ice: dalton per cubic angstrom, its integral is the particle's mass. Built in are
parametric models of the six species of the CZII phantom and of distractors; maps and atomic models come from files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float
from pydantic import Field

from frazil.core.errors import SimulationError
from frazil.core.settings import Settings
from frazil.io.atoms import ATOM_SUFFIXES, is_atoms
from frazil.io.checks import check_name
from frazil.simulation.structures.atoms import read_atomic_structure
from frazil.simulation.structures.maps import Contrast, read_map
from frazil.simulation.structures.particles import DISTRACTORS as DISTRACTORS
from frazil.simulation.structures.particles import PARTICLES as PARTICLES
from frazil.simulation.structures.solid import solid_body as solid_body

_MAP_SUFFIXES = (".mrc", ".map", ".ccp4", ".rec")


class Structure(Protocol):
    """Anything that can be drawn as a mass density on a grid."""

    @property
    def label(self) -> str:
        """Class name, as copick takes it."""
        ...

    @property
    def radius_angstrom(self) -> float:
        """Of the challenge's score; goes into the project's config. The enclosing radius where there is none."""
        ...

    @property
    def mass_kda(self) -> float:
        """Integral of the density."""
        ...

    @property
    def center_offset_angstrom(self) -> Float[np.ndarray, "3"]:
        """From the origin of what it was made of to its centre of mass, where picks are, zyx; see `StructureSettings`."""
        ...

    @property
    def solid_radius_angstrom(self) -> float:
        """Of the sphere about the centre that holds the solid body."""
        ...

    @property
    def support_radius_angstrom(self) -> float:
        """Beyond it the density is nothing."""
        ...

    def density(
        self,
        shape_voxel: tuple[int, int, int],
        voxel_size_angstrom: float,
        *,
        rotation: Float[np.ndarray, "3 3"] | None = None,
        center_voxel: Sequence[float] | None = None,
    ) -> Float[np.ndarray, "z y x"]:
        """Return the mass density, dalton per cubic angstrom, float32.

        Parameters
        ----------
        shape_voxel : zyx.
        rotation : object -> grid, acting on zyx vectors; None leaves the particle as it is.
        center_voxel : zyx place of the particle's centre of mass, fractions allowed; None is the box centre N // 2.
        """
        ...


class StructureSettings(Settings):
    """One structure of a preset, or of `--structure`.

    Picks of it are at its centre of mass, which need not be the middle of a map's box or the origin of a model: a pick at p
    with rotation R has that middle (voxel N // 2) or origin at p - R `center_offset_angstrom`, an attribute of the structure.

    Parameters
    ----------
    label : class name; the built-in structure of that label where there is no `source`.
    source : density map (.mrc, .map) or atoms (.cif, .pdb, also .gz); None takes the built-in.
    mass_kda : None takes that of the atoms, times the cube of `scale`; without atoms the built-in's of that label, also for a
        map, times the cube of `scale`; else the volume of the map above its contour times protein's 0.81 Da/A^3.
    radius_angstrom : for scoring; None takes the built-in's of that label times `scale`, or the enclosing radius.
    contrast : of a map; ``white`` where the particle is brighter than its surroundings.
    voxel_size_angstrom : of a map whose header lacks it or is wrong.
    assembly : name of a biological assembly of an atomic model; None takes the atoms as they are.
    scale : enlarges the particle by this factor, and its mass by the cube; a mass or radius that is given stays.
    distractor : in the ice, but not annotated.
    """

    label: str
    source: str | None = None
    mass_kda: float | None = Field(None, gt=0)
    radius_angstrom: float | None = Field(None, gt=0)
    contrast: Contrast = "auto"
    voxel_size_angstrom: float | None = Field(None, gt=0)
    assembly: str | None = None
    scale: float = Field(1.0, gt=0)
    distractor: bool = False


def find_structures(entries: Iterable[StructureSettings]) -> dict[str, Structure]:
    """Return the structures by label, in the order of the entries.

    Raises
    ------
    SimulationError : a label that is not built in and has no source, is given twice, or cannot be a copick name; a file
        that is no structure.
    SourceError : a file that cannot be read.
    """
    found: dict[str, Structure] = {}
    for entry in entries:
        check_name(entry.label, "structure", SimulationError)
        if entry.label in found:
            raise SimulationError(f"{entry.label}: given twice; give every structure its own label")
        found[entry.label] = _built_in(entry) if entry.source is None else _from_file(entry, Path(entry.source))
    return found


def _built_in(entry: StructureSettings) -> Structure:
    known = PARTICLES | DISTRACTORS
    if entry.label not in known:
        raise SimulationError(
            f"{entry.label}: no such structure; choose from {', '.join(known)}, or give the file of a map or of atoms"
        )
    model = known[entry.label]
    return replace(
        model.scaled(entry.scale),
        mass_kda=entry.mass_kda or model.mass_kda * entry.scale**3,
        radius_angstrom=entry.radius_angstrom or model.radius_angstrom * entry.scale,
    )


def _from_file(entry: StructureSettings, path: Path) -> Structure:
    radius_angstrom, species_kda = entry.radius_angstrom, None
    if entry.label in PARTICLES | DISTRACTORS:
        species = _built_in(StructureSettings(label=entry.label, scale=entry.scale))
        radius_angstrom, species_kda = radius_angstrom or species.radius_angstrom, species.mass_kda
    if is_atoms(path):
        return read_atomic_structure(
            path,
            label=entry.label,
            mass_kda=entry.mass_kda,
            radius_angstrom=radius_angstrom,
            assembly=entry.assembly,
            scale=entry.scale,
        )
    if path.suffix.lower() in _MAP_SUFFIXES:
        return read_map(
            path,
            label=entry.label,
            mass_kda=entry.mass_kda or species_kda,
            radius_angstrom=radius_angstrom,
            contrast=entry.contrast,
            voxel_size_angstrom=entry.voxel_size_angstrom,
            scale=entry.scale,
        )
    known_suffixes = ", ".join((*_MAP_SUFFIXES, *ATOM_SUFFIXES))
    raise SimulationError(f"{path}: neither a map nor atoms; give {entry.label} a file that ends in {known_suffixes}")
