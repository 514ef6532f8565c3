import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import SimulationError
from frazil.io.atoms import Atoms
from frazil.simulation.structures.atomic_model import potential_over_ice, read_atomic_model
from frazil.simulation.structures.structure import StructureSettings

VOXEL_ANGSTROM = 3.0
# Electron scattering factors at zero angle, angstrom (Peng et al. 1996), and atomic weights.
FORWARD = {6: 2.509, 7: 2.211, 8: 1.983, 15: 5.488, 79: 10.573}
DALTON = {6: 12.011, 7: 14.007, 8: 15.999, 15: 30.974, 79: 196.967}
HYDROGEN_FORWARD, HYDROGEN_DALTON = 0.529, 1.008
PROTEIN_VOLUME, NUCLEIC_VOLUME = 1.212, 0.913  # cubic angstrom per dalton: 0.73 and 0.55 cm^3/g


def some_atoms(positions, elements, hydrogens=None) -> Atoms:
    hydrogens = np.zeros(len(elements)) if hydrogens is None else np.asarray(hydrogens, dtype=float)
    return Atoms(np.asarray(positions, dtype=float), np.asarray(elements), hydrogens, "here")


def protein_ball(radius_angstrom: float) -> Atoms:
    """Atoms of protein's composition and density, evenly spread: carbon, nitrogen and oxygen with their hydrogens."""
    spacing = (14.05 * 1.212) ** (1 / 3)  # so many dalton to a heavy atom, with its hydrogen
    steps = int(radius_angstrom / spacing) + 1
    lattice = np.stack(np.meshgrid(*[np.arange(-steps, steps + 1) * spacing] * 3, indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    lattice = lattice[np.linalg.norm(lattice, axis=1) < radius_angstrom]
    elements = np.resize([6, 6, 7, 6, 6, 8, 6, 6, 7, 6, 8, 6, 6, 7, 6, 8], len(lattice))
    return some_atoms(lattice, elements, np.full(len(lattice), 1.0))


@pytest.mark.parametrize("element", [6, 8, 79])
def test_a_single_atom_is_its_closed_form(element):
    """Scattering times h^2 / (2 pi m e), less 4.5 V of ice over its volume, as a Gaussian of 3 A besides its own width."""
    potential = potential_over_ice(some_atoms([(5.0, -3.0, 2.0)], [element])).astype(float)
    total = 47.878 * FORWARD[element] - 4.5 * PROTEIN_VOLUME * DALTON[element]
    assert potential.sum() * VOXEL_ANGSTROM**3 == pytest.approx(total, rel=0.01)
    offsets = np.indices(potential.shape)
    center = [(offsets[axis] * potential).sum() / potential.sum() for axis in range(3)]
    assert np.multiply(center, VOXEL_ANGSTROM) == pytest.approx([15.0] * 3, abs=0.05)
    variance = [
        (potential.sum(axis=tuple({0, 1, 2} - {axis})) @ (np.arange(len(potential)) - center[axis]) ** 2)
        for axis in range(3)
    ]
    assert np.divide(variance, potential.sum()) * VOXEL_ANGSTROM**2 == pytest.approx([9.2] * 3, abs=0.4)


@given(
    hydrogens=st.lists(st.floats(0, 4), min_size=4, max_size=4),
    places=st.lists(st.tuples(*[st.floats(-40, 40)] * 3), min_size=4, max_size=4),
)
def test_the_integral_is_that_of_the_atoms_less_the_ice_they_displace(hydrogens, places):
    elements = [6, 7, 8, 79]
    atoms = some_atoms(places, elements, hydrogens)
    dalton = sum(DALTON[element] for element in elements) + HYDROGEN_DALTON * sum(hydrogens)
    assert atoms.mass_dalton == pytest.approx(dalton, rel=1e-4)
    scattering = sum(FORWARD[element] for element in elements) + HYDROGEN_FORWARD * sum(hydrogens)
    truth = 47.878 * scattering - 4.5 * PROTEIN_VOLUME * dalton
    total = float(potential_over_ice(atoms).sum(dtype=np.float64)) * VOXEL_ANGSTROM**3
    # Heavy atoms in one place leave no envelope of that volume; these rarely meet.
    assert total == pytest.approx(truth, rel=0.02, abs=0.02 * 47.878 * scattering)


def test_protein_over_ice_is_protein_over_ice():
    """Inside, protein is some 3.4 V over ice, flat; the whole comes to about 4.2 V cubic angstrom a dalton."""
    atoms = protein_ball(30.0)
    potential = potential_over_ice(atoms)
    middle = tuple(edge // 2 for edge in potential.shape)
    inside = potential[tuple(slice(m - 3, m + 4) for m in middle)]
    assert inside.mean() == pytest.approx(3.4, abs=0.4)
    assert np.ptp(inside) < 0.3
    per_dalton = float(potential.sum(dtype=np.float64)) * VOXEL_ANGSTROM**3 / atoms.mass_dalton
    assert per_dalton == pytest.approx(4.2, abs=0.3)


def test_a_cavity_holds_ice():
    atoms = protein_ball(45.0)
    hollow = np.linalg.norm(atoms.positions_angstrom, axis=1) > 24
    shell = some_atoms(atoms.positions_angstrom[hollow], atoms.elements[hollow], atoms.hydrogens[hollow])
    potential = potential_over_ice(shell)
    middle = tuple(edge // 2 for edge in potential.shape)
    assert abs(potential[middle]) < 0.02
    assert potential[middle[0], middle[1]].max() > 3


def test_a_nucleic_acid_displaces_less_ice():
    """Carbons with a phosphorus to every 321 dalton are taken for nucleic acid."""
    elements = [15] + [6] * 24
    positions = np.stack(np.meshgrid(*[np.arange(3) * 2.2] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:25]
    atoms = some_atoms(positions, elements)
    share = 321.0 / atoms.mass_dalton
    volume = atoms.mass_dalton * (PROTEIN_VOLUME + share * (NUCLEIC_VOLUME - PROTEIN_VOLUME))
    truth = 47.878 * (FORWARD[15] + 24 * FORWARD[6]) - 4.5 * volume
    total = float(potential_over_ice(atoms).sum(dtype=np.float64)) * VOXEL_ANGSTROM**3
    assert total == pytest.approx(truth, rel=0.01)


PDB = """\
ATOM      1  N   GLY A   1       0.000   0.000   0.000  1.00 50.00           N
ATOM      2  CA  GLY A   1       1.458   0.000   0.000  1.00 50.00           C
ATOM      3  C   GLY A   1       2.009   1.420   0.000  1.00 50.00           C
ATOM      4  O   GLY A   1       1.251   2.390   0.000  1.00 50.00           O
END
"""


def test_a_file_becomes_a_structure_with_the_mass_of_its_sequence(tmp_path):
    (tmp_path / "gly.pdb").write_text(PDB)
    glycine = read_atomic_model(tmp_path / "gly.pdb", StructureSettings(label="glycine"))
    assert glycine.mass_kda == pytest.approx((75.067 - 18.015) / 1000, rel=1e-3)
    density = glycine.density((13, 13, 13), 5.0)
    assert density.sum() * 5.0**3 == pytest.approx(1000 * glycine.mass_kda, rel=0.01)
    assert np.unravel_index(density.argmax(), density.shape) == (6, 6, 6)
    assert glycine.radius_angstrom == glycine.solid_radius_angstrom < 15
    asked = read_atomic_model(
        tmp_path / "gly.pdb", StructureSettings(label="glycine", mass_kda=2.0, radius_angstrom=9.0)
    )
    assert (asked.mass_kda, asked.radius_angstrom) == (2.0, 9.0)


def test_the_center_of_mass_is_told_from_the_origin_of_the_model(tmp_path):
    """Atoms of one element in a row: their mean, zyx."""
    line = "ATOM  {0:5d}  C   ALA A{0:4d}    {1:8.3f}{2:8.3f}{3:8.3f}  1.00 50.00           C\n"
    places = [(100.0 + 4 * i, -20.0, 7.0) for i in range(6)]
    (tmp_path / "row.pdb").write_text("".join(line.format(i + 1, *place) for i, place in enumerate(places)) + "END\n")
    model = read_atomic_model(tmp_path / "row.pdb", StructureSettings(label="row"))
    assert model.center_offset_angstrom == pytest.approx((7.0, -20.0, 110.0), abs=0.1)


def test_atoms_too_far_apart_are_refused(refuses):
    with refuses(SimulationError, "here", "5000 A apart", "at most 3000 A"):
        potential_over_ice(some_atoms([(0, 0, 0), (0, 0, 5000)], [6, 6]))
