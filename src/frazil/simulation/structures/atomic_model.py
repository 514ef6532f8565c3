"""Atomic models as structures: electron-scattering potential over the ice that the particle displaces."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float, Int

from frazil.core.errors import SimulationError
from frazil.io.atoms import Atoms, read_atoms
from frazil.simulation.structures.density_map import MapModel
from frazil.simulation.structures.structure import StructureSettings

# h^2 / (2 pi m e): turns electron scattering factors (angstrom) into the integral of the potential.
VOLT_CUBIC_ANGSTROM_PER_ANGSTROM = 47.878
ICE_VOLT = 4.5  # mean inner potential of vitreous ice (field knowledge: 3.5 to 4.9; isolated atoms give 4.5)

_GRID_ANGSTROM = 3.0
# Atoms are blurred to what such a grid holds; finer detail does not show in voxels of 5 A and more.
_SIGMA_ANGSTROM = 3.0
_MARGIN_ANGSTROM = 15.0
_CUTOFF = 1e-7  # of an atom's density; gemmi's default cuts off half a percent of the integral
# Partial specific volumes of 0.73 and 0.55 cm^3/g, in cubic angstrom per dalton.
_PROTEIN_VOLUME = 0.73 * 1.6605
_NUCLEIC_ACID_VOLUME = 0.55 * 1.6605
_NUCLEOTIDE_DALTON = 321.0  # each phosphorus stands for one
_PHOSPHORUS = 15
_LARGEST_ANGSTROM = 3000.0


def read_atomic_model(path: Path, settings: StructureSettings) -> MapModel:
    """Read an mmCIF or PDB file as a structure."""
    atoms = read_atoms(path, assembly=settings.assembly)
    mass_kda = settings.mass_kda or atoms.mass_dalton / 1000
    origin = (_MARGIN_ANGSTROM - atoms.positions_angstrom.min(axis=0)) / _GRID_ANGSTROM
    potential = potential_over_ice(atoms)
    spread = settings.size_spread or 0.0
    return MapModel(settings.label, potential, _GRID_ANGSTROM, mass_kda, settings.radius_angstrom, origin, spread)


def potential_over_ice(atoms: Atoms) -> Float[np.ndarray, "z y x"]:
    """Return the potential of the atoms less that of the ice in their place, volt, in voxels of 3 A."""
    extent = np.ptp(atoms.positions_angstrom, axis=0)
    if extent.max() > _LARGEST_ANGSTROM:
        raise SimulationError(
            f"{atoms.origin}: atoms {extent.max():.0f} A apart; give a particle of at most {_LARGEST_ANGSTROM:g} A"
        )
    edges_voxel = np.ceil((extent + 2 * _MARGIN_ANGSTROM) / _GRID_ANGSTROM).astype(int)
    potential = _scattering(atoms, edges_voxel) * np.float32(VOLT_CUBIC_ANGSTROM_PER_ANGSTROM)
    nucleotides = min(1.0, float((atoms.elements == _PHOSPHORUS).sum()) * _NUCLEOTIDE_DALTON / atoms.mass_dalton)
    displaced = atoms.mass_dalton * (_PROTEIN_VOLUME + nucleotides * (_NUCLEIC_ACID_VOLUME - _PROTEIN_VOLUME))
    return potential - np.float32(ICE_VOLT) * _envelope(potential, displaced)


def _scattering(atoms: Atoms, edges_voxel: Int[np.ndarray, "3"]) -> Float[np.ndarray, "z y x"]:
    """Return the electron-scattering density of the blurred atoms, angstrom per cubic angstrom.

    Axes x, y, z of gemmi are our z, y, x here; occupancies account for hydrogens.
    """
    z, y, x = (edges_voxel * _GRID_ANGSTROM).tolist()
    calculator = gemmi.DensityCalculatorE()
    calculator.grid.set_unit_cell(gemmi.UnitCell(z, y, x, 90, 90, 90))
    calculator.cutoff = _CUTOFF
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(*edges_voxel.tolist())
    positions = atoms.positions_angstrom - atoms.positions_angstrom.min(axis=0) + _MARGIN_ANGSTROM
    # Electron scattering factors at zero angle, angstrom (Peng 1996, as gemmi tabulates them).
    forward = {number: float(gemmi.Element(number).c4322.calculate_sf(0.0)) for number in {1, *atoms.elements.tolist()}}
    atom = gemmi.Atom()
    atom.b_iso = float(8 * np.pi**2 * _SIGMA_ANGSTROM**2)
    for position, number, hydrogens in zip(
        positions.tolist(), atoms.elements.tolist(), atoms.hydrogens.tolist(), strict=True
    ):
        atom.pos = gemmi.Position(*position)
        atom.element = gemmi.Element(number)
        atom.occ = 1 + hydrogens * forward[1] / forward[number]
        calculator.add_atom_density_to_grid(atom)
    return np.array(calculator.grid, dtype=np.float32)


def _envelope(potential: Float[np.ndarray, "z y x"], volume_angstrom3: float) -> Float[np.ndarray, "z y x"]:
    """Return the share of each voxel from which the particle displaces the ice.

    It is 1 inside, also between atoms where no water fits, and falls off as the potential does: the envelope is the
    potential, clipped at the height that gives the right volume.
    """
    wanted = volume_angstrom3 / _GRID_ANGSTROM**3
    lowest, highest = 0.0, float(potential.sum(dtype=np.float64)) / wanted  # so high that nothing is cut off
    for _ in range(40):
        height = (lowest + highest) / 2
        filled = float(np.minimum(potential, height).sum(dtype=np.float64)) / height
        lowest, highest = (height, highest) if filled > wanted else (lowest, height)
    return np.minimum(potential / highest, np.float32(1))
