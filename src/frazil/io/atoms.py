"""Atomic models: mmCIF and PDB files, also compressed, through gemmi."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float, Int

from frazil.core.console import warn
from frazil.core.errors import SourceError
from frazil.core.reading import one_line

ATOM_SUFFIXES = (".cif", ".mmcif", ".pdb", ".ent")

_HYDROGEN_DALTON = 1.008
_WATER_DALTON = 18.015
# Of organic matter where a residue's composition is not tabulated: that of an average amino acid.
_HYDROGENS_PER_DALTON = 0.075
_POLYMERS = (gemmi.ResidueKind.AA, gemmi.ResidueKind.AAD, gemmi.ResidueKind.RNA, gemmi.ResidueKind.DNA)
_SUGARS = (gemmi.ResidueKind.PYR, gemmi.ResidueKind.KET)
_OF_POLYMERS = ("C", "N", "O", "P", "S", "SE", "F", "CL", "BR", "I")  # with their modifications
_MEMBRANE = "DUM"  # residue of the points that mark a membrane in files of OPM and PPM
# Columns of mmCIF that gemmi needs and programs leave out, with what stands for them.
_OPTIONAL_COLUMNS = {"id": "?", "type_symbol": "?", "label_alt_id": ".", "label_asym_id": "A"}


@dataclass(frozen=True)
class Atoms:
    """The heavy atoms of a structure, one conformation, without water.

    Parameters
    ----------
    positions_angstrom : `(n, 3)` zyx.
    elements : `(n,)` atomic numbers.
    hydrogens : `(n,)` hydrogens that each atom stands for; need not be whole.
    origin : where they were read from, for messages.
    """

    positions_angstrom: Float[np.ndarray, "n 3"]
    elements: Int[np.ndarray, "n"]
    hydrogens: Float[np.ndarray, "n"]
    origin: str

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def mass_dalton(self) -> float:
        """Of all atoms with their hydrogens."""
        weights = np.array([gemmi.Element(number).weight for number in range(int(self.elements.max()) + 1)])
        return float(weights[self.elements].sum() + _HYDROGEN_DALTON * self.hydrogens.sum())


def is_atoms(path: Path) -> bool:
    """Return whether a file holds atoms, judged by its name."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(ATOM_SUFFIXES)


def read_atoms(path: Path, *, assembly: str | None = None) -> Atoms:
    """Read the atoms of the first model.

    Water is left out: it is part of the ice. Ligands and ions stay. Of alternative conformations the first stays, and every
    atom of it counts fully: a particle has it or not. Hydrogens in the file are dropped and given back from the
    composition of the residues, spread over its heavy atoms by their mass, so that side chains that were not modeled bring
    none. Elements are checked against the residue, because programs leave them out or write something else in their place;
    points that mark a membrane and beads that are no atoms are left out, with a warning. `assembly` names a biological
    assembly, mostly ``1``; None takes the atoms as they are in the file.
    """
    structure = _read_structure(path)
    if len(structure) == 0:
        raise SourceError(f"{path}: no atoms in it; give a coordinate file (mmCIF or PDB) with atoms")
    del structure[1:]
    waters = sum(residue.is_water() for chain in structure[0] for residue in chain)
    structure.remove_alternative_conformations()
    structure.remove_waters()
    if assembly is not None:
        known = [found.name for found in structure.assemblies]
        if assembly not in known:
            there = f"choose from {', '.join(known)}" if known else "the file describes none; leave assembly out"
            raise SourceError(f"{path}: no assembly {assembly}; {there}")
        structure.transform_to_assembly(assembly, gemmi.HowToNameCopiedChain.AddNumber)
    positions, elements, hydrogens = [], [], []
    left_out: Counter[str] = Counter()
    for chain in structure[0]:
        for residue in chain:
            found = _heavy_atoms(residue)
            left_out.update(f"{atom.name} in {residue.name}" for atom, element in found if element is None)
            atoms = [(atom, element) for atom, element in found if element is not None]
            per_dalton = _hydrogens_per_dalton(residue, len(atoms))
            positions += [(atom.pos.z, atom.pos.y, atom.pos.x) for atom, _ in atoms]
            elements += [element.atomic_number for _, element in atoms]
            hydrogens += [element.weight * per_dalton for _, element in atoms]
    what = ", ".join(f"{count} {name}" for name, count in left_out.most_common(3))
    more = f" and {len(left_out) - 3} others" if len(left_out) > 3 else ""
    if not elements:
        what = f"only {what}{more}" if what else f"only {waters} waters" if waters else "none"
        raise SourceError(
            f"{path}: no atoms of a particle in it ({what}); give a coordinate file with a particle, all its atoms"
        )
    if len(elements) == 1:
        raise SourceError(f"{path}: a single atom in it; give a coordinate file with a whole particle")
    if not np.isfinite(positions).all():
        raise SourceError(f"{path}: an atom has a position that is not a number; correct the file")
    if left_out:
        warn(f"{path}: {what}{more} left out: no atoms of known elements; give all atoms where these are beads")
    return Atoms(np.array(positions), np.array(elements), np.array(hydrogens), str(path))


def _heavy_atoms(residue: gemmi.Residue) -> list[tuple[gemmi.Atom, gemmi.Element | None]]:
    """Return the atoms other than hydrogen with their elements; None for what is no atom, such as the bead SC1.

    A residue of a polymer is made of few elements, so that CA is no calcium; a file's elements are taken where the residue
    can have them, else those that begin the atoms' names.
    """
    if residue.name == _MEMBRANE:
        return [(atom, None) for atom in residue]
    known = gemmi.find_tabulated_residue(residue.name)
    # Force fields have names of their own for amino acids.
    amino_acid = not known.found() and {"N", "CA", "C"} <= {atom.name for atom in residue}
    polymer = known.found() and known.kind in (*_POLYMERS, *_SUGARS)
    found: list[tuple[gemmi.Atom, gemmi.Element | None]] = []
    for atom in residue:
        name, element = atom.name.upper(), atom.element
        symbol = element.name.upper()
        if polymer or amino_acid:
            symbol = symbol if symbol in _OF_POLYMERS or atom.is_hydrogen() else name.lstrip("0123456789")[:1]
            bead = symbol == "S" and known.is_standard() and name[:2] not in ("SG", "SD")
            possible = (symbol in _OF_POLYMERS and name.startswith(symbol) and not bead) or symbol in ("H", "D")
        else:
            if element.atomic_number == 0 and len(residue) > 1:
                symbol = name[:2] if name[:2] in ("FE", "CL", "BR", "SE") else name[:1]
            elif element.atomic_number == 0:
                symbol = name[:2].rstrip("0123456789+-")
            possible = element.atomic_number > 0 or len(residue) == 1 or symbol in ("FE", "H", "D", *_OF_POLYMERS)
        if symbol not in ("H", "D"):
            element = gemmi.Element(symbol)
            found.append((atom, element if possible and element.atomic_number > 0 else None))
    return found


def _read_structure(path: Path) -> gemmi.Structure:
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise SourceError(f"{path}: {what}; check the path")
    try:
        path.open("rb").close()  # gemmi does not say that it lacks permission
        document = gemmi.cif.Document()
        structure = gemmi.read_structure(str(path), save_doc=document)
        if len(structure) == 0 and len(document) > 0:
            structure = _with_all_columns(document[0])
    except PermissionError:
        raise SourceError(f"{path}: permission denied; make it readable") from None
    except (ValueError, RuntimeError, OSError, IndexError) as fault:
        raise SourceError(f"{path}: not an atomic model ({one_line(fault)}); give mmCIF or PDB") from None
    if structure.input_format == gemmi.CoorFormat.Pdb:
        _refuse_unreadable_places(path)
    return structure


def _with_all_columns(block: gemmi.cif.Block) -> gemmi.Structure:
    """Read the atoms of an mmCIF file that lacks columns which say nothing that we need."""
    loop = block.find_mmcif_category("_atom_site.").loop
    for column, value in _OPTIONAL_COLUMNS.items():
        if loop is not None and f"_atom_site.{column}" not in loop.tags:
            loop.add_columns([f"_atom_site.{column}"], value)
    return gemmi.make_structure_from_block(block)


def _refuse_unreadable_places(path: Path) -> None:
    """Refuse a PDB file with coordinates that are not numbers, such as asterisks: gemmi reads them as 0."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.startswith((b"ATOM", b"HETATM")):
                continue
            places = [line[start : start + 8] for start in (30, 38, 46)]
            try:
                for place in places:
                    float(place)
            except ValueError:
                shown = b" ".join(places).decode("ascii", "replace").strip()
                raise SourceError(
                    f"{path}: line {number}, coordinates {shown!r} are not numbers; correct the file, or write mmCIF"
                ) from None


def _hydrogens_per_dalton(residue: gemmi.Residue, heavy_atoms: int) -> float:
    """Return the hydrogens of a residue per dalton of its heavy atoms."""
    if heavy_atoms == 1:  # an ion; a trace of alpha carbons would be the same, and does not model a particle's mass
        return 0.0
    known = gemmi.find_tabulated_residue(residue.name)
    if not known.found() or known.weight <= 0:
        return _HYDROGENS_PER_DALTON
    hydrogens, dalton = known.hydrogen_count, known.weight
    if known.kind in _POLYMERS:  # linking to the next residue takes a water
        hydrogens, dalton = hydrogens - 2, dalton - _WATER_DALTON
    return float(hydrogens / (dalton - hydrogens * _HYDROGEN_DALTON))
