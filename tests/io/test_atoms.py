import gzip
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np
import pytest

from frazil.core.errors import SourceError
from frazil.io.atoms import is_atoms, read_atoms

WATER, HYDROGEN = 18.015, 1.008


def make_structure(residues: Sequence[tuple[str, Sequence[tuple[str, str, Sequence[float]]]]]) -> gemmi.Structure:
    """One chain of residues ``(name, [(atom, element, xyz), ...])``."""
    structure, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for number, (name, atoms) in enumerate(residues, start=1):
        residue = gemmi.Residue()
        residue.name = name
        residue.seqid = gemmi.SeqId(str(number))
        for atom_name, element, xyz in atoms:
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = atom_name, gemmi.Element(element), gemmi.Position(*xyz)
            residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    return structure


GLYCINE = [("N", "N", (0, 0, 0)), ("CA", "C", (1.4, 0, 0)), ("C", "C", (2, 1.4, 0)), ("O", "O", (1.3, 2.4, 0))]
ALANINE = [*GLYCINE, ("CB", "C", (2, -0.8, 1.2))]
URACIL_MONOPHOSPHATE = "P OP1 OP2 O5' C5' C4' O4' C3' O3' C2' O2' C1' N1 C2 O2 N3 C4 O4 C5 C6"


def write(structure: gemmi.Structure, path: Path) -> Path:
    as_pdb = path.name.endswith((".pdb", ".pdb.gz"))
    text = structure.make_pdb_string() if as_pdb else structure.make_mmcif_document().as_string()
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["a.pdb", "a.ent", "a.pdb.gz", "a.cif", "a.mmcif", "a.cif.gz", "A.CIF"])
def test_every_form_gives_the_same_atoms_in_zyx(tmp_path, name):
    path = write(make_structure([("GLY", GLYCINE)]), tmp_path / "x.pdb" if name == "a.ent" else tmp_path / name)
    if name == "a.ent":
        path = path.rename(tmp_path / name)
    assert is_atoms(path)
    atoms = read_atoms(path)
    assert len(atoms) == 4
    np.testing.assert_allclose(atoms.positions_angstrom, [xyz[::-1] for _, _, xyz in GLYCINE], atol=1e-3)
    assert atoms.elements.tolist() == [7, 6, 6, 8]
    assert atoms.origin == str(path)


def test_other_files_are_no_atoms():
    assert not is_atoms(Path("map.mrc"))
    assert not is_atoms(Path("pdb"))


def test_the_mass_is_that_of_the_sequence(tmp_path):
    """A chain weighs its amino acids less one water for each; the hydrogens were not modeled."""
    path = write(make_structure([("GLY", GLYCINE), ("ALA", ALANINE)] * 3), tmp_path / "peptide.pdb")
    assert read_atoms(path).mass_dalton == pytest.approx(3 * (75.067 + 89.093 - 2 * WATER), rel=1e-3)


def test_a_nucleotide_weighs_its_monophosphate_less_water(tmp_path):
    atoms = [(name, name[0], (i, 0, 0)) for i, name in enumerate(URACIL_MONOPHOSPHATE.split())]
    path = write(make_structure([("U", atoms)]), tmp_path / "rna.pdb")
    assert read_atoms(path).mass_dalton == pytest.approx(324.18 - WATER, rel=1e-3)


def test_explicit_hydrogens_change_nothing(tmp_path):
    with_hydrogens = [*ALANINE, ("HA", "H", (1, -1, 0)), ("HB1", "H", (3, -1, 1)), ("D", "D", (0, 0, 1))]
    plain = read_atoms(write(make_structure([("ALA", ALANINE)]), tmp_path / "plain.cif"))
    explicit = read_atoms(write(make_structure([("ALA", with_hydrogens)]), tmp_path / "explicit.cif"))
    np.testing.assert_array_equal(plain.positions_angstrom, explicit.positions_angstrom)
    np.testing.assert_array_equal(plain.hydrogens, explicit.hydrogens)
    assert plain.hydrogens.sum() == pytest.approx(5)  # C3 H5 N O


def test_a_side_chain_that_was_not_modelled_brings_no_hydrogens(tmp_path):
    stub = [("N", "N", (0, 0, 0)), ("CA", "C", (1.4, 0, 0)), ("C", "C", (2, 1.4, 0)), ("O", "O", (1.3, 2.4, 0))]
    atoms = read_atoms(write(make_structure([("TRP", stub)]), tmp_path / "stub.pdb"))
    assert atoms.hydrogens.sum() < 5  # a whole tryptophan has 10


def test_waters_go_and_ligands_and_ions_stay(tmp_path):
    residues = [
        ("GLY", GLYCINE),
        ("HOH", [("O", "O", (9, 9, 9))]),
        ("ZN", [("ZN", "Zn", (5, 5, 5))]),
        ("NAG", [("C1", "C", (7, 0, 0)), ("O5", "O", (8, 0, 0))]),
        ("DOD", [("O", "O", (9, 0, 9))]),
        ("X9Z", [("C1", "C", (0, 7, 0)), ("C2", "C", (0, 8, 0))]),
    ]
    atoms = read_atoms(write(make_structure(residues), tmp_path / "mixed.cif"))
    assert atoms.elements.tolist() == [7, 6, 6, 8, 30, 6, 8, 6, 6]
    assert atoms.hydrogens[4] == 0
    assert atoms.hydrogens[-1] == pytest.approx(12.011 * 0.075, rel=1e-3)  # composition not known


def test_of_alternative_conformations_the_first_stays(tmp_path):
    structure = make_structure([("GLY", [*GLYCINE[:3], ("O", "O", (1.3, 2.4, 0)), ("O", "O", (2.3, 2.4, 0.9))])])
    residue = structure[0][0][0]
    for atom, altloc, occupancy in zip(list(residue)[3:], "AB", (0.6, 0.4), strict=True):
        atom.altloc, atom.occ = altloc, occupancy
    atoms = read_atoms(write(structure, tmp_path / "two.pdb"))
    np.testing.assert_allclose(atoms.positions_angstrom[3], (0, 2.4, 1.3), atol=1e-3)
    assert len(atoms) == 4


def test_of_several_models_the_first_is_taken(tmp_path):
    structure = make_structure([("GLY", GLYCINE)])
    second = structure[0].clone()
    second.num = 2
    structure.add_model(second)
    assert len(read_atoms(write(structure, tmp_path / "nmr.pdb"))) == 4


def dimer() -> gemmi.Structure:
    """A chain, and the assembly ``1`` of it and its copy turned by 180 degrees about z."""
    structure = make_structure([("GLY", [(name, element, (x + 3, y, z)) for name, element, (x, y, z) in GLYCINE])])
    generator = gemmi.Assembly.Gen()
    generator.chains = ["A"]
    for matrix in (np.eye(3), np.diag([-1.0, -1.0, 1.0])):
        operator = gemmi.Assembly.Operator()
        operator.transform = gemmi.Transform(gemmi.Mat33(matrix.tolist()), gemmi.Vec3(0, 0, 0))
        generator.operators.append(operator)
    assembly = gemmi.Assembly("1")
    assembly.generators.append(generator)
    structure.assemblies.append(assembly)
    return structure


@pytest.mark.parametrize("name", ["dimer.cif", "dimer.pdb"])
def test_an_assembly_is_built_when_asked_for(tmp_path, name, refuses):
    path = write(dimer(), tmp_path / name)
    single, both = read_atoms(path), read_atoms(path, assembly="1")
    assert both.mass_dalton == pytest.approx(2 * single.mass_dalton)
    np.testing.assert_allclose(both.positions_angstrom[4:, 1:], -both.positions_angstrom[:4, 1:], atol=1e-3)
    with refuses(SourceError, name, "no assembly 7", "choose from 1"):
        read_atoms(path, assembly="7")


def test_an_assembly_that_the_file_does_not_describe_is_refused(tmp_path, refuses):
    path = write(make_structure([("GLY", GLYCINE)]), tmp_path / "alone.cif")
    with refuses(SourceError, "alone.cif", "no assembly 1", "leave assembly out"):
        read_atoms(path, assembly="1")


def test_files_without_a_particle_are_refused(tmp_path, refuses):
    waters = [("HOH", [("O", "O", (i, 0, 0))]) for i in range(3)]
    with refuses(SourceError, "wet.pdb", "only 3 waters", "with a particle"):
        read_atoms(write(make_structure(waters), tmp_path / "wet.pdb"))
    with refuses(SourceError, "wet.cif", "only 3 waters", "with a particle"):
        read_atoms(write(make_structure(waters), tmp_path / "wet.cif"))
    (tmp_path / "empty.cif").write_text("data_empty\n_entry.id EMPTY\n")
    with refuses(SourceError, "empty.cif", "no atoms", "mmCIF or PDB"):
        read_atoms(tmp_path / "empty.cif")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdb", b""),
        ("a.pdb", b"not atoms at all\n"),
        ("a.cif", b""),
        ("a.cif", b"not mmCIF\n"),
        ("a.cif.gz", b"not gzip"),
        ("a.pdb", b"\xff\xfe\x00ATOM"),
    ],
)
def test_what_is_no_structure_is_refused(tmp_path, name, content, refuses):
    (tmp_path / name).write_bytes(content)
    with refuses(SourceError, name, "give"):
        read_atoms(tmp_path / name)


def test_missing_and_forbidden_files_are_refused(tmp_path, refuses):
    with refuses(SourceError, "absent.cif", "no such file", "check the path"):
        read_atoms(tmp_path / "absent.cif")
    (tmp_path / "folder.cif").mkdir()
    with refuses(SourceError, "folder.cif", "a folder"):
        read_atoms(tmp_path / "folder.cif")


LINE = "ATOM  {0:5d}  CA  ALA A{0:4d}    {1:>8}{2:>8}{3:>8}  1.00 50.00           C\n"


@pytest.mark.parametrize("name", ["bad.pdb", "bad.pdb.gz"])
@pytest.mark.parametrize("place", ["********", "x.xxx", ""])
def test_coordinates_that_are_no_numbers_are_refused(tmp_path, name, place, refuses):
    """gemmi takes asterisks for 0."""
    text = "HEADER    TEST\n" + LINE.format(1, "1.000", "2.000", "3.000") + LINE.format(2, place, "2.000", "3.000")
    data = (text + "END\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with refuses(SourceError, name, "line 3", "not numbers"):
        read_atoms(tmp_path / name)


def test_a_single_atom_is_no_particle(tmp_path, refuses):
    (tmp_path / "one.pdb").write_text(LINE.format(1, "1.000", "2.000", "3.000") + "END\n")
    with refuses(SourceError, "one.pdb", "a single atom", "whole particle"):
        read_atoms(tmp_path / "one.pdb")


def pdb_line(name: str, residue: str, number: int, xyz: Sequence[float], element: str = "") -> str:
    x, y, z = xyz
    return f"ATOM  {number:5d} {name:4} {residue:>3} A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 50.00          {element:>2}\n"


def write_lines(path: Path, residue: str, names: Sequence[str], elements: Sequence[str] = ()) -> Path:
    elements = elements or [""] * len(names)
    lines = [
        pdb_line(name, residue, 1, (1.5 * i, 0, 0), element)
        for i, (name, element) in enumerate(zip(names, elements, strict=True))
    ]
    path.write_text("".join(lines) + "END\n")
    return path


@pytest.mark.parametrize(
    ("residue", "names", "elements", "truth"),
    [
        ("ALA", ["N", "CA", "C", "O", "CB"], [], [7, 6, 6, 8, 6]),  # names that begin in the column of calcium
        ("ALA", [" N", " CA", " C", " O", " CB"], ["PR"] * 5, [7, 6, 6, 8, 6]),  # a segment's name for the element
        ("GLU", ["N", "CA", "C", "O", "CB", "CG", "CD", "OE1", "HA", "HG2", "1HB"], [], [7, 6, 6, 8, 6, 6, 6, 8]),
        ("MSE", ["N", "CA", "C", "O", "CB", "CG", "SE", "CE"], [], [7, 6, 6, 8, 6, 6, 34, 6]),
        ("CYS", ["N", "CA", "C", "O", "CB", "SG", "HG"], [], [7, 6, 6, 8, 6, 16]),
        ("HSD", ["N", "CA", "C", "O", "CB", "ND1", "HE2"], [], [7, 6, 6, 8, 6, 7]),  # of a force field
        ("SEP", ["N", "CA", "C", "O", "CB", "OG", "P", "O1P"], [], [7, 6, 6, 8, 6, 8, 15, 8]),
        ("U", ["P", "OP1", "O5'", "C5'", "N1", "H1'"], [], [15, 8, 8, 6, 7]),
        ("5BU", [" N1", " C2", "BR"], ["N", "C", "BR"], [7, 6, 35]),
        ("NAG", ["C1", "C2", "O5", "N2", "HN2"], ["NA"] * 5, [6, 6, 8, 7]),
        ("HEM", ["FE", " NA", " NB", " CHA"], ["FE", "N", "N", "C"], [26, 7, 7, 6]),
    ],
)
def test_elements_are_those_that_the_residue_can_have(tmp_path, residue, names, elements, truth, capsys):
    atoms = read_atoms(write_lines(tmp_path / "a.pdb", residue, names, elements))
    assert atoms.elements.tolist() == truth
    assert capsys.readouterr().err == ""


def test_what_is_no_atom_is_left_out_and_said(tmp_path, capsys):
    peptide = "".join(pdb_line(f" {name}", "GLY", 1, xyz, element) for name, element, xyz in GLYCINE)
    membrane = "".join(pdb_line(" O", "DUM", i, (9 * i, 0, 15), "").replace("ATOM  ", "HETATM") for i in range(2, 8))
    (tmp_path / "plain.pdb").write_text(peptide + "END\n")
    (tmp_path / "membrane.pdb").write_text(peptide + membrane + "END\n")
    plain = read_atoms(tmp_path / "plain.pdb")
    assert capsys.readouterr().err == ""
    within = read_atoms(tmp_path / "membrane.pdb")
    assert "membrane.pdb: 6 O in DUM left out" in capsys.readouterr().err
    np.testing.assert_array_equal(within.positions_angstrom, plain.positions_angstrom)
    assert within.mass_dalton == plain.mass_dalton


@pytest.mark.parametrize("residue", ["ALA", "CYS", "U"])
def test_beads_are_no_atoms(tmp_path, residue, refuses):
    with refuses(SourceError, "beads.pdb", f"1 BB in {residue}, 1 SC1 in {residue}", "all its atoms"):
        read_atoms(write_lines(tmp_path / "beads.pdb", residue, [" BB", " SC1"]))


@pytest.mark.parametrize(
    "column", ["id", "type_symbol", "label_alt_id", "label_asym_id", "label_entity_id", "occupancy"]
)
def test_an_mmcif_column_that_says_nothing_needed_may_be_absent(tmp_path, column):
    document = make_structure([("GLY", GLYCINE), ("ALA", ALANINE)]).make_mmcif_document()
    whole = tmp_path / "whole.cif"
    whole.write_text(document.as_string())
    document[0].find_mmcif_category("_atom_site.").loop.remove_column(f"_atom_site.{column}")
    (tmp_path / "part.cif").write_text(document.as_string())
    one, other = read_atoms(whole), read_atoms(tmp_path / "part.cif")
    assert one.elements.tolist() == other.elements.tolist()
    np.testing.assert_array_equal(one.positions_angstrom, other.positions_angstrom)
    np.testing.assert_array_equal(one.hydrogens, other.hydrogens)
