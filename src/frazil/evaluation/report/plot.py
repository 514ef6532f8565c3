"""Lines over common positions as a small SVG picture: what is drawn where, in pixels; the template draws it.

Lines are told apart by dashes and marks as well as by colour.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from frazil.evaluation.report.numbers import number
from frazil.evaluation.scores import Plot

WIDTH, HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 42
LINE_HEIGHT = 14
"""Of a title of several lines."""
_X_LETTERS, _Y_LETTERS = 44, 30
"""Letters of a title on a line; of the widest font that a reader may have, so many fit beside an axis."""
_MARKS = 7
_POSITIONS = 3
"""It takes so many to draw a line: one through two points looks like a finding and is none."""
_NOISE_STRETCH = 1.5
"""Noise may stretch the range of the other lines by this factor; further out it leaves the picture."""


@dataclass(frozen=True)
class Series:
    """A line to draw.

    Parameters
    ----------
    key : chooses colour, dashes and mark in the style sheet.
    name : for people.
    y, low, high : values and, where known, the band around them; None where there is no value.
    """

    key: str
    name: str
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class DrawnSeries:
    """A line in pixels: SVG paths of its line and its band, and the places of its marks."""

    key: str
    name: str
    line: str
    band: str
    marks: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Picture:
    """A plot in pixels, of `WIDTH` x `HEIGHT` and a further `LINE_HEIGHT` for each further line of a title.

    Parameters
    ----------
    x_title, y_title : line by line.
    left, right, top, bottom : of the frame.
    x_ticks, y_ticks : place and text.
    alt : the picture in words.
    note : what a reader must know, e.g. that a line leaves the picture.
    """

    title: str
    x_title: tuple[str, ...]
    y_title: tuple[str, ...]
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    series: tuple[DrawnSeries, ...]
    alt: str
    note: str


def draw_plot(plot: Plot) -> Picture | None:
    """Return the picture of `plot`; None where it has no value at all, or too few positions for a line."""
    series = [Series(line.name.replace(" ", "-"), line.name, line.y, line.low, line.high) for line in plot.lines]
    return draw_series(plot, series)


def draw_series(plot: Plot, series: Sequence[Series]) -> Picture | None:
    """Return the picture of `series` over the positions and under the titles of `plot`; None as in `draw_plot`."""
    series = [line for line in series if any(value is not None for value in line.y)]
    if not series or len(plot.x) < _POSITIONS:
        return None
    low, high, note = _range(series)
    frame = _Frame(min(plot.x), max(plot.x), low, high)
    drawn = [frame.draw(line, plot.x, place) for place, line in enumerate(series)]
    # generated goes on top
    drawn.sort(
        key=lambda line: ("noise", "real-training", "real-held-out").index(line.key) if line.key in _UNDER else 9
    )
    return Picture(
        title=plot.title,
        x_title=_wrapped(plot.x_title, _X_LETTERS),
        y_title=_wrapped(plot.y_title, _Y_LETTERS),
        left=_LEFT,
        right=WIDTH - _RIGHT,
        top=_TOP,
        bottom=HEIGHT - _BOTTOM,
        x_ticks=tuple((round(frame.x(value), 1), text) for value, text in _ticks(frame.x_low, frame.x_high, 5)),
        y_ticks=tuple((round(frame.y(value), 1), text) for value, text in _ticks(low, high, 5)),
        series=tuple(drawn),
        alt=_alt(plot, series),
        note=note,
    )


def _wrapped(title: str, letters: int) -> tuple[str, ...]:
    """Break `title` into as few lines of at most `letters` as it takes, as equally long as can be."""
    fewest = len(textwrap.wrap(title, letters, break_long_words=False))
    tries = (textwrap.wrap(title, width, break_long_words=False) for width in range(1, letters + 1))
    return tuple(next(lines for lines in tries if len(lines) == fewest)) or (title,)


_UNDER = {"noise", "real-training", "real-held-out"}


@dataclass(frozen=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - _TOP - _BOTTOM)

    def draw(self, series: Series, x: Sequence[float], place: int) -> DrawnSeries:
        known = [(self.x(at), self.y(value)) for at, value in zip(x, series.y, strict=True) if value is not None]
        every = max(1, len(known) // _MARKS)
        # marks of different lines stand apart
        marks = [
            point for point in known[(place * every) // 4 :: every] if _TOP - 1 <= point[1] <= HEIGHT - _BOTTOM + 1
        ]
        return DrawnSeries(
            key=series.key,
            name=series.name,
            line=" ".join(_path(run) for run in self._runs(x, series.y)),
            band=" ".join(self._bands(series, x)),
            marks=tuple((round(at, 1), round(up, 1)) for at, up in marks),
        )

    def _runs(self, x: Sequence[float], y: Sequence[float | None]) -> Iterator[list[tuple[float, float]]]:
        """Yield unbroken stretches of a line."""
        run: list[tuple[float, float]] = []
        for at, value in zip(x, y, strict=True):
            if value is not None:
                run.append((self.x(at), self.y(value)))
            elif run:
                yield run
                run = []
        if run:
            yield run

    def _bands(self, series: Series, x: Sequence[float]) -> Iterator[str]:
        if len(series.low) != len(x) or len(series.high) != len(x):
            return
        both = [None not in pair for pair in zip(series.low, series.high, strict=True)]
        lower = self._runs(x, [value if known else None for value, known in zip(series.low, both, strict=True)])
        upper = self._runs(x, [value if known else None for value, known in zip(series.high, both, strict=True)])
        for below, above in zip(lower, upper, strict=True):
            yield f"{_path([*below, *reversed(above)])}Z"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _range(series: Sequence[Series]) -> tuple[float, float, str]:
    """Return the lowest and highest value to draw, with a margin, and what to say of lines that go further."""
    noise = [value for line in series if line.key == "noise" for value in line.y if value is not None]
    rest = [
        value
        for line in series
        if line.key != "noise"
        for value in (*line.y, *line.low, *line.high)
        if value is not None
    ]
    low, high = min(rest or noise), max(rest or noise)
    note = ""
    if rest and noise:
        room = _NOISE_STRETCH * (high - low)
        wanted_low, wanted_high = min(low, *noise), max(high, *noise)
        if wanted_high - wanted_low <= (high - low) + room:
            low, high = wanted_low, wanted_high
        else:
            low, high = max(wanted_low, low - room / 2), min(wanted_high, high + room / 2)
            note = "Noise goes on outside the picture."
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - margin, high + margin, note


def _ticks(low: float, high: float, about: int) -> list[tuple[float, str]]:
    """Return round values between `low` and `high`, and their texts."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(place * step, number(place * step, decimals=decimals)) for place in range(first, last + 1)]


def _alt(plot: Plot, series: Sequence[Series]) -> str:
    """Say what the lines do: where each starts, what it has in the middle, where it ends."""
    said = []
    for line in series:
        known = [(at, value) for at, value in zip(plot.x, line.y, strict=True) if value is not None]
        points = [known[0], known[len(known) // 2], known[-1]]
        said.append(f"{line.name}: " + ", ".join(f"{number(value)} at {number(at)}" for at, value in points))
    return f"{plot.y_title} by {plot.x_title}. " + "; ".join(said) + "."
