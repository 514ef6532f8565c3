"""CSV tables, read by their column names with errors that name line, column and value; picks in tables."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from frazil.core.errors import FrazilError, PickError
from frazil.core.files import one_line
from frazil.core.records import Picks, TomogramHeader
from frazil.io.checks import clean_name

if TYPE_CHECKING:
    from jaxtyping import Float

PICK_COLUMNS = ("experiment", "particle_type", "x", "y", "z")


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


def read_csv(path: Path, columns: Sequence[str], error: type[FrazilError]) -> CsvTable:
    """Read a CSV with a header line that has at least `columns`; all that is wrong is an `error`.

    Blank lines are skipped; cells that are missing at the end of a line are empty.
    """
    wanted = f"a table with the columns {', '.join(columns)} is expected"
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = text.lstrip()
        cells = pd.read_csv(
            io.StringIO(table),
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,  # so that lines can be counted
            usecols=lambda _: True,  # with it, cells beyond the last column are ignored
        )
    except FileNotFoundError:
        raise error(f"{path}: no such file; check the path") from None
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror}); check the path and its permissions") from None
    except pd.errors.EmptyDataError:
        raise error(f"{path}: empty; {wanted}") from None
    except (ValueError, pd.errors.ParserError) as fault:
        raise error(f"{path}: not a CSV text file ({one_line(fault)}); {wanted}") from None
    cells.columns = cells.columns.str.strip()
    cells.index += 2 + text[: len(text) - len(table)].count("\n")
    if missing := [column for column in columns if column not in cells]:
        raise error(
            f"{path}: no column {', '.join(missing)} among {', '.join(cells.columns)}; {wanted}, comma-separated"
        )
    cells = cells.apply(lambda column: column.str.strip())
    cells = cells[(cells != "").any(axis=1)]
    if cells.empty:
        raise error(f"{path}: no rows below the header; fill it in")
    return CsvTable(path, cells, error)


@dataclass(frozen=True)
class TablePicks:
    """Picks of one class in one tomogram as a table has them: they need the tomogram to become angstrom from voxel (0, 0, 0).

    Parameters
    ----------
    places : `(n, 3)` zyx, voxels from the center of voxel (0, 0, 0); or, with `centered`, angstrom from the tomogram's
        center at N/2 voxels.
    """

    tomogram: str
    label: str
    places: Float[np.ndarray, "n 3"]
    origin: str
    rotations: Float[np.ndarray, "n 3 3"] | None = None
    centered: bool = False
    user: str | None = None
    session: str | None = None

    def placed(self, header: TomogramHeader | None) -> Picks:
        """Return the picks in angstrom from the center of voxel (0, 0, 0); NaN without a tomogram, which hides the scale."""
        if header is None:
            centers = np.full_like(self.places, np.nan)
        elif self.centered:
            centers = self.places + center_angstrom(header)
        else:
            centers = self.places * header.voxel_size_angstrom
        return Picks(self.tomogram, self.label, centers, self.rotations, origin=self.origin)


def center_angstrom(header: TomogramHeader) -> Float[np.ndarray, "3"]:
    """Return the center of a tomogram, zyx, at N/2 voxels from the center of voxel (0, 0, 0)."""
    return np.asarray(header.shape_voxel) / 2 * header.voxel_size_angstrom


def read_picks(path: Path) -> list[TablePicks]:
    """Read the paper's table of picks: experiment, particle_type and x, y, z in voxels. One record per tomogram and class.

    A tomogram may be named with or without ``.mrc``. Classes become names that copick accepts (``beta_amylase`` ->
    ``beta-amylase``).
    """
    table = read_csv(path, PICK_COLUMNS, PickError)
    labels = table.text("particle_type").map(clean_name)
    table.refuse(labels == "", "particle_type", "a class name with letters or digits is expected")
    tomograms = table.text("experiment").str.removesuffix(".mrc")
    places = pd.DataFrame({axis: table.numbers(axis) for axis in "zyx"})
    return [
        TablePicks(str(tomogram), str(label), own.to_numpy(), str(path))
        for (tomogram, label), own in places.groupby([tomograms, labels], sort=False)
    ]
