"""Atomic models: mmCIF and PDB files, also compressed, through gemmi."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float, Int

from frazil.core.errors import SourceError
from frazil.core.files import one_line

ATOM_SUFFIXES = (".cif", ".mmcif", ".pdb", ".ent")

_HYDROGEN_DALTON = 1.008
_WATER_DALTON = 18.015
# Of organic matter where a residue's composition is not tabulated: that of an average amino acid.
_HYDROGENS_PER_DALTON = 0.075
_POLYMERS = (gemmi.ResidueKind.AA, gemmi.ResidueKind.AAD, gemmi.ResidueKind.RNA, gemmi.ResidueKind.DNA)


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
    none. `assembly` names a biological assembly, mostly ``1``; None takes the atoms as they are in the file.
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
    for chain in structure[0]:
        for residue in chain:
            atoms = [atom for atom in residue if not atom.is_hydrogen() and atom.element.atomic_number > 0]
            per_dalton = _hydrogens_per_dalton(residue, len(atoms))
            positions += [(atom.pos.z, atom.pos.y, atom.pos.x) for atom in atoms]
            elements += [atom.element.atomic_number for atom in atoms]
            hydrogens += [atom.element.weight * per_dalton for atom in atoms]
    if not elements:
        what = f"only {waters} waters" if waters else "none"
        raise SourceError(f"{path}: no atoms of a particle in it ({what}); give a coordinate file with a particle")
    if len(elements) == 1:
        raise SourceError(f"{path}: a single atom in it; give a coordinate file with a whole particle")
    if not np.isfinite(positions).all():
        raise SourceError(f"{path}: an atom has a position that is not a number; correct the file")
    return Atoms(np.array(positions), np.array(elements), np.array(hydrogens), str(path))


def _read_structure(path: Path) -> gemmi.Structure:
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise SourceError(f"{path}: {what}; check the path")
    try:
        path.open("rb").close()  # gemmi does not say that it lacks permission
        structure = gemmi.read_structure(str(path))
    except PermissionError:
        raise SourceError(f"{path}: permission denied; make it readable") from None
    except (ValueError, RuntimeError, OSError, IndexError) as fault:
        raise SourceError(f"{path}: not an atomic model ({one_line(fault)}); give mmCIF or PDB") from None
    if structure.input_format == gemmi.CoorFormat.Pdb:
        _refuse_unreadable_places(path)
    return structure


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
