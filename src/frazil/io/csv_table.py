"""CSV tables read by their column names, with errors that say file, line, column and value."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frazil.core.errors import FrazilError


@dataclass(frozen=True)
class Row:
    """One line of a table. `error` is raised where a cell cannot be used."""

    path: Path
    line: int
    cells: dict[str, str]
    error: type[FrazilError]

    def text(self, column: str) -> str:
        """Return the cell; empty ones are refused."""
        value = self.cells[column]
        if not value:
            raise self.fault(column, value, "fill it in")
        return value

    def number(self, column: str) -> float:
        """Return the cell as a finite number."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.fault(column, self.cells[column], "a finite number is expected")
        return value

    def whole(self, column: str) -> int:
        """Return the cell as an integer."""
        try:
            return int(self.cells[column])
        except ValueError:
            raise self.fault(column, self.cells[column], "a whole number is expected") from None

    def fault(self, column: str, value: object, remedy: str) -> FrazilError:
        """Return an error about one cell."""
        return self.error(f"{self.path}, line {self.line}, column {column}: {value!r}; {remedy}")


def read_rows(path: Path, columns: Sequence[str], error: type[FrazilError]) -> list[Row]:
    """Read a CSV with a header line. Further columns are ignored, blank lines skipped, spaces around cells dropped.

    Raises
    ------
    error : the file is missing, empty, no text or has no rows; a column is missing; a line has too few cells.
    """
    wanted = ", ".join(columns)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            lines = [
                (reader.line_num, [cell.strip() for cell in cells])
                for cells in reader
                if any(cell.strip() for cell in cells)
            ]
    except FileNotFoundError:
        raise error(f"{path}: no such file; check the path") from None
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror}); check the path and its permissions") from None
    except (UnicodeDecodeError, csv.Error) as fault:
        raise error(f"{path}: no CSV text ({fault}); a table with the columns {wanted} is expected") from None
    if not lines:
        raise error(f"{path}: empty; a table with the columns {wanted} is expected")
    (_, header), body = lines[0], lines[1:]
    if missing := [column for column in columns if column not in header]:
        raise error(
            f"{path}: no column {', '.join(missing)} among {', '.join(header)}; the columns {wanted} are "
            "expected, comma-separated"
        )
    if not body:
        raise error(f"{path}: no rows below the header; fill it in")
    for number, cells in body:
        if len(cells) < len(header):
            raise error(
                f"{path}, line {number}: {len(cells)} cells for {len(header)} columns; fill the missing ones in"
            )
    return [Row(path, number, dict(zip(header, cells, strict=False)), error) for number, cells in body]
