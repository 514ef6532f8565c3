"""CSV tables, read by their column names with errors that name line, column and value; picks in tables."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from frazil.core.errors import FrazilError, PickError
from frazil.core.reading import one_line, read_bytes
from frazil.core.records import Picks, TomogramHeader
from frazil.core.settings import Units
from frazil.io.cells import without_apostrophes
from frazil.io.checks import bare_name, clean_name
from frazil.io.copick.picks import known_rotations

if TYPE_CHECKING:
    from jaxtyping import Float

PICK_COLUMNS = ("experiment", "particle_type", "x", "y", "z")
COPICK_COLUMNS = ("run_name", "x", "y", "z")
SCORE = "score"

_MOST_SHOWN = 120  # characters of a first line that is no header


@dataclass(frozen=True)
class CsvTable:
    """A table of text without spaces around a cell; the index is the line's number in the file.

    `error` is raised where a cell cannot be used.
    """

    path: Path
    cells: pd.DataFrame
    error: type[FrazilError]

    def text(self, column: str) -> pd.Series[str]:
        """Return a column without empty cells."""
        self.refuse(self.cells[column] == "", column, "fill it in")
        return self.cells[column]

    def numbers(self, column: str, *, empty_allowed: bool = False) -> pd.Series[float]:
        """Return a column of finite numbers; with `empty_allowed`, NaN for empty cells."""
        values = self.cells[column].map(_float)  # pandas rounds the last digit in its own way
        empty = (self.cells[column] == "") & empty_allowed
        self.refuse(~np.isfinite(values) & ~empty, column, "a finite number is expected")
        return values

    def whole(self, column: str) -> pd.Series[int]:
        """Return a column of whole numbers."""
        self.refuse(~self.cells[column].str.fullmatch(r"[+-]?\d{1,18}"), column, "a whole number is expected")
        return self.cells[column].astype(np.int64)

    def refuse(self, bad: pd.Series[bool], column: str, remedy: str) -> None:
        """Raise an error about the first bad cell of a column, if there is one."""
        if bad.any():
            line = bad.idxmax()
            raise self.error(
                f"{self.path}, line {line}, column {column}: {str(self.cells.at[line, column])!r}; {remedy}"
            )


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_csv(
    path: Path, columns: Sequence[str], error: type[FrazilError], *, instead: Sequence[str] | None = None
) -> CsvTable:
    """Read a CSV with a header line that has at least `columns`, or those of `instead`; all that is wrong is an `error`.

    Blank lines are skipped; cells that are missing at the end of a line are empty.
    """
    wanted = f"a table with the columns {', '.join(columns)} is expected"
    content = read_bytes(path, error)
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()  # line ends of any system
        table = text.lstrip()
        cells = pd.read_csv(
            io.StringIO(table),
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,  # so that lines can be counted
            usecols=lambda _: True,  # with it, cells beyond the last column are ignored,
            index_col=False,  # and with this, also where every row has them
        )
    except pd.errors.EmptyDataError:
        raise error(f"{path}: empty; {wanted}") from None
    except (ValueError, pd.errors.ParserError) as fault:
        raise error(f"{path}: not a CSV text file ({one_line(fault)}); {wanted}") from None
    cells.columns = cells.columns.str.strip()
    cells.index += 2 + text[: len(text) - len(table)].count("\n")
    missing = [column for column in columns if column not in cells]
    if missing and not (instead and set(instead) <= set(cells)):
        there = ", ".join(cells.columns)
        shown = there if there.isprintable() and len(there) <= _MOST_SHOWN else f"{there[:_MOST_SHOWN]!a}..."
        raise error(f"{path}: no column {', '.join(missing)} among {shown}; {wanted}, comma-separated")
    cells = cells.apply(lambda column: without_apostrophes(column.str.strip()))
    cells = cells[(cells != "").any(axis=1)]
    if cells.empty:
        raise error(f"{path}: no rows below the header; fill it in")
    return CsvTable(path, cells, error)


@dataclass(frozen=True)
class TablePicks:
    """Picks of one class in one tomogram as a table has them: some need the tomogram to become angstrom from voxel (0, 0, 0).

    Parameters
    ----------
    tomogram : as the table calls it.
    places : `(n, 3)` zyx, in `unit`: ``voxel`` or ``angstrom`` from the center of voxel (0, 0, 0), or ``centered``, angstrom
        from the tomogram's center at N/2 voxels.
    shifts_angstrom : `(n, 3)` zyx, to be subtracted; None for zeros.
    """

    tomogram: str
    label: str
    places: Float[np.ndarray, "n 3"]
    origin: str
    rotations: Float[np.ndarray, "n 3 3"] | None = None
    unit: Literal["voxel", "angstrom", "centered"] = "voxel"
    shifts_angstrom: Float[np.ndarray, "n 3"] | None = None
    user: str | None = None
    session: str | None = None
    scores: Float[np.ndarray, "n"] | None = None

    def placed(self, header: TomogramHeader | None, run: str | None = None) -> Picks:
        """Return the picks in angstrom from the center of voxel (0, 0, 0); NaN without a tomogram that gives the scale.

        `run` is the name of the tomogram where it is not that of the table.
        """
        if self.unit == "angstrom":
            centers = self.places
        elif header is None:
            centers = np.full_like(self.places, np.nan)
        elif self.unit == "centered":
            centers = self.places + center_angstrom(header)
        else:
            centers = self.places * header.voxel_size_angstrom
        if self.shifts_angstrom is not None:
            centers = centers - self.shifts_angstrom
        return Picks(
            run or self.tomogram, self.label, centers, self.rotations, self.user, self.session, self.origin, self.scores
        )


def center_angstrom(header: TomogramHeader) -> Float[np.ndarray, "3"]:
    """Return the center of a tomogram, zyx, at N/2 voxels from the center of voxel (0, 0, 0)."""
    return np.asarray(header.shape_voxel) / 2 * header.voxel_size_angstrom


def read_picks(path: Path, units: Units | None = None) -> list[TablePicks]:
    """Read a table of picks, one record per tomogram and class.

    The paper's: experiment, particle_type and x, y, z in voxels of the tomogram. copick's: run_name, and x, y, z in angstrom,
    with or without the transformations; its class is the object in the name of the file, unless a column ``particle_type``
    says it. A column ``score`` says how sure a picker was. `units` is what x, y and z are in, where it is not that. A tomogram
    may be named with or without the suffix of its file. Classes become names that copick accepts (``beta_amylase`` ->
    ``beta-amylase``).
    """
    table = read_csv(path, PICK_COLUMNS, PickError, instead=COPICK_COLUMNS)
    ours = PICK_COLUMNS[0] in table.cells
    if "particle_type" in table.cells:
        labels = table.text("particle_type").map(clean_name)
        table.refuse(labels == "", "particle_type", "a class name with letters or digits is expected")
    else:  # <user>_<session>_<object>.csv, or the object alone
        labels = pd.Series(clean_name(path.stem.split("_", 2)[-1]), index=table.cells.index)
    tomograms = table.text(PICK_COLUMNS[0] if ours else COPICK_COLUMNS[0]).map(bare_name)
    places = pd.DataFrame({axis: table.numbers(axis) for axis in "zyx"})
    unit = units or ("voxel" if ours else "angstrom")
    matrices = None
    if not ours and {f"transform_{row}{column}" for row in range(4) for column in range(4)} <= set(table.cells):
        flat = [table.numbers(f"transform_{row}{column}") for row in range(3) for column in range(4)]
        matrices = np.stack(flat, axis=-1).reshape(-1, 3, 4)
    return in_groups(
        tomograms.to_numpy(),
        labels.to_numpy(),
        places.to_numpy(),
        str(path),
        unit,
        rotations=None if matrices is None else matrices[:, :, :3],
        shifts_angstrom=None if matrices is None else -matrices[:, ::-1, 3],  # xyz -> zyx
        scores=table.numbers(SCORE).to_numpy() if SCORE in table.cells else None,
    )


def in_groups(
    tomograms: np.ndarray,
    labels: np.ndarray,
    places: Float[np.ndarray, "n 3"],
    origin: str,
    unit: Literal["voxel", "angstrom", "centered"],
    *,
    rotations: Float[np.ndarray, "n 3 3"] | None = None,
    shifts_angstrom: Float[np.ndarray, "n 3"] | None = None,
    scores: Float[np.ndarray, "n"] | None = None,
) -> list[TablePicks]:
    """Return the rows of a table as one record per tomogram and class, sorted.

    Parameters
    ----------
    tomograms, labels : `(n,)` names, one a row.
    rotations : `(n, 3, 3)` object -> tomogram, on xyz vectors, as tables have them; all others are zyx.
    """
    groups = pd.DataFrame({"tomogram": tomograms, "label": labels}).groupby(["tomogram", "label"]).indices
    return [
        TablePicks(
            str(tomograms[rows[0]]),
            str(labels[rows[0]]),
            np.ascontiguousarray(places[rows]),
            origin,
            None if rotations is None else known_rotations(rotations[rows], origin),
            unit,
            None if shifts_angstrom is None else np.ascontiguousarray(shifts_angstrom[rows]),
            scores=None if scores is None else scores[rows],
        )
        for rows in groups.values()
    ]


def classes_of_file(path: Path, tomograms: Sequence[str], numbers: Sequence[Any] | None = None) -> list[str]:
    """Return the class of each particle of a file that says none: the name of the file, with the number of the class if there are several.

    Where a file holds one tomogram and is named after it, the tomogram is no part of the name of the class.

    Parameters
    ----------
    tomograms : of each particle.
    numbers : of the class of each particle; None where the file has no such column.
    """
    stem = path.stem
    if len(set(tomograms)) == 1:  # one file a tomogram is not one class a tomogram
        tomogram = re.escape(bare_name(tomograms[0]))
        if named := re.fullmatch(rf"(?:(.*)[^A-Za-z0-9])?{tomogram}(?:[^A-Za-z0-9](.*))?", stem.removeprefix("rec_")):
            stem = "-".join(part for part in named.groups() if part) or "particle"
    if numbers is None or len(set(numbers)) == 1:
        return [stem] * len(tomograms)
    return [f"{stem}-class{number}" for number in numbers]


def clean_classes(names: Sequence[str], path: Path) -> list[str]:
    """Return names of classes, one a particle, as copick accepts them."""
    labels = [clean_name(name) for name in names]
    if not all(labels):
        raise PickError(
            f"{path}, particle {labels.index('') + 1}: {names[labels.index('')]!r} is not a class name; use letters "
            "and digits"
        )
    return labels
