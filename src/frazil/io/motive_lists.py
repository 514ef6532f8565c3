"""Tables of Dynamo (``.tbl``), and motive lists of TOM, AV3, Artiatomi, and PyTom (``.em``).

Conventions. Positions and shifts are in voxels of the tomograms, and a particle lies at their sum. Those of Dynamo count from 0,
as copick, dynamo2m, and cryoCAT take them; those of a motive list from 1. Angles are ZXZ. A motive list turns the reference
into the particle: about z by phi, x by theta, and z by psi, axes of the tomogram; a table of Dynamo holds the inverse.

Both number their tomograms. Where a map of numbers lies beside a table of Dynamo (a file of the same name that ends in
``.doc``, or ``indices_column20.doc``), it gives their names; else a tomogram is called by its number. A class is named as in a
STAR file.
"""

from __future__ import annotations

import struct
from pathlib import Path

import dynamotable
import emfile
import numpy as np

from frazil.core.errors import PickError
from frazil.core.reading import LARGEST_BYTES, check_plain_file, one_line, read_bytes
from frazil.core.settings import Units
from frazil.io.copick.picks import dynamo_to_copick_transform, em_to_copick_transform
from frazil.io.tables import TablePicks, classes_of_file, clean_classes, in_groups

SUFFIXES = (".tbl", ".em")

_COLUMNS = 20
"""Of a motive list."""


def is_motive_list(path: Path) -> bool:
    """Return whether a file is a table of Dynamo, or a motive list and no other EM file."""
    if path.suffix.lower() != ".em":
        return path.suffix.lower() == ".tbl"
    try:
        header, _ = emfile.read(path, header_only=True)
    except (OSError, struct.error):
        return False
    return bool(header["xdim"] == _COLUMNS and header["zdim"] == 1)


def read_motive_list(path: Path, units: Units | None = None) -> list[TablePicks]:
    """Read a table of Dynamo or a motive list; one record per tomogram and class. `units` are voxels if none are given."""
    check_plain_file(path, PickError, largest=LARGEST_BYTES)
    read = _read_dynamo if path.suffix.lower() == ".tbl" else _read_em
    try:
        numbers, classes, scores, places, rotations = read(path)
    except (ValueError, KeyError, struct.error) as fault:  # of pandas too
        raise PickError(
            f"{path}: damaged, not a {_FORMS[read]} ({one_line(fault)}); export the particles again"
        ) from None
    for what, values in (
        ("position", places),
        ("number of a tomogram", numbers),
        ("class", classes),
        ("score", scores),
    ):
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise PickError(f"{path}, particle {bad.argmax() + 1}: the {what} is not a finite number; export it again")
    names = _names(path)
    tomograms = [names.get(number, f"{number:g}") for number in numbers.tolist()]
    labels = clean_classes(classes_of_file(path, tomograms, [f"{number:g}" for number in classes.tolist()]), path)
    return in_groups(
        np.array(tomograms),
        np.array(labels),
        places[:, ::-1],  # xyz -> zyx
        str(path),
        units or "voxel",
        rotations=rotations,
        scores=scores,
    )


def _read_dynamo(path: Path) -> tuple[np.ndarray, ...]:
    table = dynamotable.read(path)
    if missing := [name for name in ("tdrot", "tomo", "class", "x", "y", "z") if name not in table]:
        raise ValueError(f"{table.shape[1]} columns, so {missing[0]} is missing")
    table = table[["tomo", "class", "cc", "x", "y", "z", "dx", "dy", "dz", "tdrot", "tilt", "narot"]].astype(np.float64)
    numbers, classes, scores = (table[name].to_numpy() for name in ("tomo", "class", "cc"))
    positions, shifts, angles = (table.iloc[:, first : first + 3].to_numpy() for first in (3, 6, 9))
    places, poses = dynamo_to_copick_transform(positions, angles, shifts, 1.0)
    return numbers, classes, scores, places + poses[:, :3, 3], poses[:, :3, :3]


def _read_em(path: Path) -> tuple[np.ndarray, ...]:
    """Not by copick's reader, which takes the number of a particle for its score, and mixes up a list of 20."""
    _, content = emfile.read(path)
    if content.shape[0] != 1 or content.shape[2] != _COLUMNS:
        raise ValueError(f"{' x '.join(map(str, content.shape[::-1]))} values instead of {_COLUMNS} a particle")
    rows = content[0].astype(np.float64)
    angles = rows[:, [16, 18, 17]]  # phi, theta, psi
    places, poses = em_to_copick_transform(rows[:, 7:10] - 1, angles, 1.0, rows[:, 10:13])
    return rows[:, 4], rows[:, 19], rows[:, 0], places + poses[:, :3, 3], poses[:, :3, :3]


_FORMS = {_read_dynamo: "table of Dynamo", _read_em: "motive list"}


def _names(path: Path) -> dict[float, str]:
    """Return number -> name of the tomograms, as the map beside a table says."""
    for beside in (path.with_suffix(".doc"), path.with_name("indices_column20.doc")):
        if path.suffix.lower() == ".tbl" and beside.is_file():
            lines = [
                line.split(None, 1) for line in read_bytes(beside, PickError).decode(errors="replace").splitlines()
            ]
            try:
                return {float(number): name.strip() for number, name in filter(None, lines)}
            except ValueError:
                raise PickError(
                    f"{beside}: a number and a tomogram a line are expected; correct it or move it away"
                ) from None
    return {}
