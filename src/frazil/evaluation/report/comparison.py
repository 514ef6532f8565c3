"""What a page that compares several evaluations shows beyond their scores: the best of a row, letters on strips, plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from frazil.evaluation.report.numbers import number
from frazil.evaluation.report.plot import Picture, draw_lines
from frazil.evaluation.report.table import Row
from frazil.evaluation.scores import Evaluation, Line, Plot, Score
from frazil.evaluation.verdicts import overlap

_LEVELS, _LETTER_WIDTH = 3, 13.0


def letter(place: int) -> str:
    """Return the short name of a generator."""
    return ascii_uppercase[place % len(ascii_uppercase)]


def values(row: Row) -> str:
    """Return the values of a row in words, by letter."""
    known = [(letter(place), score) for place, score in enumerate(row.scores) if score is not None]
    return ", ".join(f"{name} {number(score.value, score.unit)}" for name, score in known if score.value is not None)


def look(place: int) -> str:
    """Return the look of a generator in plots."""
    return str(place % 6)


@dataclass(frozen=True)
class Letter:
    """A generator on the strip of a row; letters that would overlap are on different levels (0 to 2)."""

    letter: str
    x: float
    level: int
    beyond: int


def letters(row: Row) -> list[Letter]:
    """Place the letters of the generators on the strip of a row."""
    marks = [(letter(place), own.marks[-1]) for place, own in enumerate(row.strips) if own is not None]
    ends = [-math.inf] * _LEVELS
    placed = []
    for name, mark in sorted(marks, key=lambda own: own[1].x):
        level = next((place for place, end in enumerate(ends) if mark.x - end >= _LETTER_WIDTH), 0)
        ends[level] = mark.x
        placed.append(Letter(name, mark.x, level, mark.beyond))
    return placed


def best(scores: Sequence[Score | None]) -> tuple[int | None, str]:
    """Return the place of the best value if its interval overlaps no other; else None and why, if there is a choice at all."""
    known = [(place, score) for place, score in enumerate(scores) if score is not None and score.value is not None]
    losses = sorted((_loss(score), place) for place, score in known)
    if len(known) < 2 or math.isinf(losses[0][0]):
        return None, ""
    if losses[0][0] == losses[-1][0]:
        return None, "no difference"
    place = losses[0][1]
    bounds = next(score.interval for own, score in known if own == place)
    if bounds is None:
        return None, "no interval, so none is called the best"
    others = [score.interval or (score.value or 0.0,) * 2 for own, score in known if own != place]
    if any(overlap(bounds, other) for other in others):
        return None, "intervals overlap: no clear best" if len(known) > 2 else "intervals overlap: no clear difference"
    return place, ""


def _loss(score: Score) -> float:
    """Return how bad a value is; infinite where that cannot be said."""
    value = score.value or 0.0
    if score.better == "as real":
        return abs(value - score.real) if score.real is not None else math.inf
    return value if score.better == "lower" else -value


def pictures(evaluations: Sequence[Evaluation]) -> list[Picture]:
    """Draw the generated line of every evaluation over the held-out one of the first that has the plot."""
    found: dict[tuple[str, str | None], list[tuple[int, Plot]]] = {}
    for place, own in enumerate(evaluations):
        for plot in own.plots:
            found.setdefault((plot.name, plot.label), []).append((place, plot))
    drawn = []
    for plots in found.values():
        first = plots[0][1]
        lines = {
            letter(place): (look(place), Line(name=line.name, y=line.y))
            for place, plot in reversed(plots)  # the dashes of the later ones let the solid first one show
            for line in plot.lines
            if line.name == "generated" and plot.x == first.x  # lines over other positions cannot share the axis
        }
        lines |= {line.name: (line.name, line) for line in first.lines if line.name == "real held-out"}
        if (picture := draw_lines(first, lines)) is not None:
            drawn.append(picture)
    return drawn
