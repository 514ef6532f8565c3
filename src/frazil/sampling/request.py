"""What is asked for: classes, places and counts, from Python, the command line or a CSV. xyz of files becomes zyx here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from frazil.core.errors import RequestError
from frazil.core.settings import Settings, check_number
from frazil.io.tables import read_csv

Position = tuple[float, float, float]
CENTER: Position = (0.5, 0.5, 0.5)


def _from_axes(value: Any) -> Any:
    return tuple(value[axis] for axis in "zyx") if isinstance(value, dict) and set(value) == set("zyx") else value


NamedPosition = Annotated[
    Position,
    BeforeValidator(_from_axes),
    PlainSerializer(lambda position: dict(zip("zyx", position, strict=True))),
]
"""A zyx position, written to JSON with its axes named."""


class Request(Settings):
    """Samples of one class at one place.

    Parameters
    ----------
    label : class name; ``all`` stands for every class of the bundle.
    position : zyx center in the tomogram, divided by its extent, in [0, 1].
    count : how many samples, at least 1.
    """

    label: str
    position: NamedPosition = CENTER
    count: int = 1

    def __str__(self) -> str:
        z, y, x = self.position
        return f"{self.count} x {self.label} at x,y,z {x:g},{y:g},{z:g}"

    def check(self, known: Sequence[str]) -> None:
        """Refuse what a bundle of the classes `known` cannot serve."""
        if self.label not in known:
            raise RequestError(f"label {self.label!r}: not in this bundle; it knows {', '.join(known)}")
        for axis, value in zip("zyx", self.position, strict=True):
            if not 0 <= value <= 1:
                raise RequestError(
                    f"position {axis} = {value:g} of {self.label}: must be from 0 to 1 (the center divided by the "
                    "tomogram's extent)"
                )
        check_number("count", self.count, RequestError)


def expand(
    label: str | Sequence[str],
    position: Position | None,
    count: int | None,
    requests: str | Path | Sequence[Request] | None = None,
    *,
    first: int | None = None,
    known: Sequence[str],
) -> list[Request]:
    """Return what is asked for, class by class: labels that share a position and a count, or a table; or a part of it.

    Parameters
    ----------
    first : number of the first sample; with it `count` is the number of samples from there on.
    known : classes of the bundle, for which ``all`` stands.
    """
    if requests is None:
        try:
            z, y, x = (float(value) for value in (CENTER if position is None else position))
        except (TypeError, ValueError):
            raise RequestError(f"position {position}: not three numbers z, y, x; give e.g. (0.5, 0.5, 0.5)") from None
        labels = [label] if isinstance(label, str) else label
        asked = [Request(label=name, position=(z, y, x), count=1 if count is None else count) for name in labels]
    else:
        asked = read_requests(requests) if isinstance(requests, str | Path) else list(requests)
        if label or position is not None or (count is not None and first is None):
            raise RequestError("label, position and count: are in the table of requests; leave them out")
    rows = [
        request.model_copy(update={"label": name})
        for request in asked
        for name in (known if request.label == "all" and "all" not in known else [request.label])
    ]
    if first is None or (requests is None and len(rows) == 1):
        return rows
    if requests is None:
        raise RequestError(f"first {first}: name one label, or give a table of requests, so that samples have a number")
    return _part(rows, first, 1 if count is None else count)


def _part(requests: Sequence[Request], first: int, count: int) -> list[Request]:
    """Return the requests for samples `first` to ``first + count - 1`` of all that `requests` ask for, or up to the last."""
    total = sum(request.count for request in requests)
    if not 0 <= first < total:
        raise RequestError(f"first {first}: the table asks for {total} samples, numbered from 0; choose one of them")
    part, start = [], 0
    for request in requests:
        lowest, highest = max(first, start), min(first + count, start + request.count)
        if lowest < highest:
            part.append(request.model_copy(update={"count": highest - lowest}))
        start += request.count
    return part


def read_requests(path: str | Path) -> list[Request]:
    """Read a CSV with the columns label, x, y, z (fractions of the tomogram's edges, 0 to 1) and count."""
    table = read_csv(Path(path), ("label", "x", "y", "z", "count"), RequestError)
    axes = [table.numbers(axis) for axis in "zyx"]
    for axis in axes:
        table.refuse(~axis.between(0, 1), str(axis.name), "a fraction of the tomogram's edge is expected, from 0 to 1")
    counts = table.whole("count")
    table.refuse(counts < 1, "count", "at least 1 is expected")
    rows = zip(table.text("label"), *axes, counts, strict=True)
    return [Request(label=label, position=(z, y, x), count=count) for label, z, y, x, count in rows]
