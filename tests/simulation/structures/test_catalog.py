import gzip

import numpy as np
import pytest

from frazil.core.errors import SimulationError, SourceError
from frazil.io.mrc import write_volume
from frazil.simulation.structures.built_in import DISTRACTORS, PARTICLES
from frazil.simulation.structures.catalog import Structure, find_structures
from frazil.simulation.structures.density_map import MapModel
from frazil.simulation.structures.grains import GrainModel
from frazil.simulation.structures.structure import StructureSettings, solid_body

PDB = """\
ATOM      1  N   GLY A   1       0.000   0.000   0.000  1.00 50.00           N
ATOM      2  CA  GLY A   1       1.458   0.000   0.000  1.00 50.00           C
ATOM      3  C   GLY A   1       2.009   1.420   0.000  1.00 50.00           C
ATOM      4  O   GLY A   1       1.251   2.390   0.000  1.00 50.00           O
END
"""


@pytest.fixture
def ball(tmp_path):
    """A map of a dark ball of radius 40 A, in voxels of 5 A."""
    radius = 5.0 * np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0)
    path = tmp_path / "ball.mrc"
    write_volume(path, -np.clip((40 - radius) / 5 + 0.5, 0, 1), 5.0)
    return path


def test_built_in_structures_are_found_by_label():
    found = find_structures([StructureSettings(label="ribosome"), StructureSettings(label="rubisco", distractor=True)])
    assert list(found) == ["ribosome", "rubisco"]
    assert found["ribosome"] == PARTICLES["ribosome"]
    assert found["rubisco"] == DISTRACTORS["rubisco"]


def test_mass_and_radius_of_a_built_in_can_be_changed():
    (found,) = find_structures([StructureSettings(label="apo-ferritin", mass_kda=500, radius_angstrom=70)]).values()
    assert isinstance(found, GrainModel)
    assert (found.mass_kda, found.radius_angstrom) == (500, 70)


def test_a_map_is_a_structure(ball):
    settings = StructureSettings(label="ball", source=str(ball), mass_kda=200, contrast="black")
    (found,) = find_structures([settings]).values()
    assert isinstance(found, MapModel)
    assert found.label == "ball"
    assert found.mass_kda == 200
    assert found.solid_radius_angstrom == pytest.approx(40, abs=6)
    assert found.radius_angstrom == found.solid_radius_angstrom
    (recalled,) = find_structures([settings.model_copy(update={"voxel_size_angstrom": 10.0})]).values()
    assert recalled.solid_radius_angstrom == pytest.approx(80, abs=8)


def test_a_map_of_a_known_species_has_its_mass_and_atoms_have_their_own(ball, tmp_path):
    (tmp_path / "gly.pdb").write_text(PDB)

    def mass_kda(source, **options) -> float:
        (found,) = find_structures([StructureSettings(label="ribosome", source=str(source), **options)]).values()
        return found.mass_kda

    (found,) = find_structures([StructureSettings(label="ribosome", source=str(ball))]).values()
    assert (found.mass_kda, found.radius_angstrom) == (PARTICLES["ribosome"].mass_kda, 150)
    assert mass_kda(ball, mass_kda=7) == 7
    assert mass_kda(tmp_path / "gly.pdb") == pytest.approx(0.057, rel=0.01)


@pytest.mark.parametrize("name", ["gly.pdb", "gly.pdb.gz"])
def test_atoms_are_a_structure(tmp_path, name):
    text = PDB.encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    (found,) = find_structures([StructureSettings(label="glycine", source=str(tmp_path / name))]).values()
    assert found.mass_kda == pytest.approx(0.057, rel=0.01)


def test_all_kinds_draw_alike(ball, tmp_path):
    """The same call places each: center of mass where asked, the whole mass, float32."""
    (tmp_path / "gly.pdb").write_text(PDB)
    found = find_structures(
        [
            StructureSettings(label="beta-amylase"),
            StructureSettings(label="ball", source=str(ball)),
            StructureSettings(label="glycine", source=str(tmp_path / "gly.pdb")),
        ]
    )
    rotation = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=float)
    for structure in found.values():
        drawn_as_any(structure, rotation)


def drawn_as_any(structure: Structure, rotation: np.ndarray) -> None:
    density = structure.density((30, 32, 34), 6.0, rotation=rotation, center_voxel=(14.3, 16.1, 17.6))
    assert density.dtype == np.float32
    assert density.shape == (30, 32, 34)
    assert density.sum(dtype=float) * 6.0**3 == pytest.approx(1000 * structure.mass_kda, rel=0.02)
    center = [(np.indices(density.shape)[axis] * density).sum(dtype=float) / density.sum() for axis in range(3)]
    assert center == pytest.approx((14.3, 16.1, 17.6), abs=0.05)
    assert solid_body(density, 6.0).any()


@pytest.mark.parametrize(
    ("entries", "parts"),
    [
        (["proteinase"], ("proteinase", "no such structure", "apo-ferritin", "rubisco", "a file with a map")),
        (["ribosome", "ribosome"], ("ribosome", "given twice", "its own label")),
        (["beta_amylase"], ("beta_amylase", "'beta-amylase'")),
    ],
)
def test_labels_that_cannot_be_are_refused(entries, parts, refuses):
    with refuses(SimulationError, *parts):
        find_structures([StructureSettings(label=label) for label in entries])


def test_files_that_are_no_structure_are_refused(tmp_path, refuses):
    with refuses(SimulationError, "notes.txt", "neither a map nor atoms", "thing", ".mrc", ".cif"):
        find_structures([StructureSettings(label="thing", source=str(tmp_path / "notes.txt"))])
    with refuses(SourceError, "absent.mrc", "no such file"):
        find_structures([StructureSettings(label="thing", source=str(tmp_path / "absent.mrc"))])
    (tmp_path / "none.cif").write_text("data_none\n")
    with refuses(SourceError, "none.cif", "no atoms"):
        find_structures([StructureSettings(label="thing", source=str(tmp_path / "none.cif"))])
