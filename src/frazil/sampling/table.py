"""Requests for samples: a position on the command line, a table of them in a CSV. xyz is flipped to zyx here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from frazil.core.errors import RequestError
from frazil.io.tables import read_csv

Position = tuple[float, float, float]
CENTRE: Position = (0.5, 0.5, 0.5)
COLUMNS = ("label", "x", "y", "z", "count")


@dataclass(frozen=True)
class Request:
    """So many samples of one class at one place.

    Parameters
    ----------
    label : class name.
    position : zyx centre in the tomogram, divided by its extent, in [0, 1].
    count : how many samples, at least 1.
    """

    label: str
    position: Position = CENTRE
    count: int = 1


def parse_position(text: str) -> Position:
    """Turn ``"x,y,z"`` into (z, y, x).

    Raises
    ------
    RequestError : not three numbers in [0, 1].

    Examples
    --------
    >>> parse_position("0.1,0.2,0.3")
    (0.3, 0.2, 0.1)
    """
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise RequestError(f"position {text!r} is not three numbers x,y,z; give it like 0.5,0.5,0.5") from None
    if not all(_inside(value) for value in (x, y, z)):
        raise RequestError(
            f"position {text!r} lies outside the tomogram; x, y and z are shares of its edges, each from 0 to 1"
        )
    return z, y, x


def read_requests(path: Path) -> list[Request]:
    """Read a CSV with the columns label, x, y, z (shares of the tomogram's edges, 0 to 1) and count.

    Raises
    ------
    RequestError : the file cannot be read, a column is missing, or a cell cannot be used (line, column and value are
        named).
    """
    table = read_csv(path, COLUMNS, RequestError)
    axes = [table.numbers(axis) for axis in "zyx"]
    for axis in axes:
        table.refuse(~axis.between(0, 1), str(axis.name), "a share of the tomogram's edge is expected, from 0 to 1")
    counts = table.whole("count")
    table.refuse(counts < 1, "count", "at least 1 is expected")
    rows = zip(table.text("label"), *axes, counts, strict=True)
    return [Request(label, (z, y, x), count) for label, z, y, x, count in rows]


def _inside(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= 1
