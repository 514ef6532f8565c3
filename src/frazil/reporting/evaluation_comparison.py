"""Several evaluations side by side: the same rows, a column each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from frazil.reporting.evaluation_numbers import decimals_of, interval, number
from frazil.reporting.evaluation_plot import Picture, Series, draw_series
from frazil.reporting.evaluation_strip import strip
from frazil.reporting.evaluation_table import ASKS, WAYS
from frazil.scores import QUESTIONS, Evaluation, Plot, Question, Score

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LEVELS, _LETTER_WIDTH = 3, 13.0


@dataclass(frozen=True)
class Cell:
    """What a generator reached.

    Parameters
    ----------
    value, interval, real, note : as text; `value` is a dash where nothing was measured.
    best : it is the best of its row.
    clear : it is the best even so far as its interval goes.
    """

    value: str
    interval: str = ""
    real: str = ""
    note: str = ""
    best: bool = False
    clear: bool = False


@dataclass(frozen=True)
class Letter:
    """A generator on the strip of a row; letters that would touch stand on other `level` (0 to 2)."""

    letter: str
    x: float
    level: int
    beyond: int


@dataclass(frozen=True)
class ComparedRow:
    """A score of every generator, in the order of the generators."""

    title: str
    label: str | None
    way: str
    cells: tuple[Cell, ...]
    marks: tuple[Letter, ...]
    alt: str


@dataclass(frozen=True)
class ComparedQuestion:
    """The rows of a question: of all classes together, and class by class."""

    question: Question
    heading: str
    asked: str
    rows: tuple[ComparedRow, ...]
    by_class: tuple[ComparedRow, ...]


@dataclass(frozen=True)
class Comparison:
    """A page.

    Parameters
    ----------
    letters : short name of each generator, for strips and plots.
    cautions : why numbers of different columns may not be comparable.
    """

    letters: tuple[str, ...]
    questions: tuple[ComparedQuestion, ...]
    pictures: tuple[Picture, ...]
    cautions: tuple[str, ...]


def compare(evaluations: Sequence[Evaluation]) -> Comparison:
    """Lay the evaluations side by side, in the order given."""
    letters = tuple(LETTERS[place % len(LETTERS)] for place in range(len(evaluations)))
    return Comparison(
        letters=letters,
        questions=tuple(_question(question, evaluations, letters) for question in QUESTIONS),
        pictures=tuple(_pictures(evaluations, letters)),
        cautions=tuple(_cautions(evaluations)),
    )


def _question(question: Question, evaluations: Sequence[Evaluation], letters: Sequence[str]) -> ComparedQuestion:
    found = [
        {(score.name, score.label): score for score in own.scores if score.question == question} for own in evaluations
    ]
    keys = list(dict.fromkeys(key for scores in found for key in scores))
    # the classes of a metric stand together
    names = list(dict.fromkeys(name for name, _ in keys))
    keys.sort(key=lambda key: names.index(key[0]))
    rows = [_row([scores.get(key) for scores in found], letters) for key in keys]
    heading, asked = ASKS[question]
    return ComparedQuestion(
        question=question,
        heading=heading,
        asked=asked,
        rows=tuple(row for row in rows if row.label is None),
        by_class=tuple(row for row in rows if row.label is not None),
    )


def _row(scores: Sequence[Score | None], letters: Sequence[str]) -> ComparedRow:
    known = [score for score in scores if score is not None]
    best, clear = _best(scores)
    cells = tuple(_cell(score, best=place == best, clear=clear) for place, score in enumerate(scores))
    said = [
        f"{letter} {number(score.value, score.unit)}"
        for letter, score in zip(letters, scores, strict=True)
        if score is not None and score.value is not None
    ]
    return ComparedRow(
        known[0].title, known[0].label, WAYS[known[0].better], cells, _letters(scores, letters), ", ".join(said)
    )


def _letters(scores: Sequence[Score | None], letters: Sequence[str]) -> tuple[Letter, ...]:
    strips = [(letter, strip(score)) for letter, score in zip(letters, scores, strict=True) if score is not None]
    marks = [(letter, own.marks[-1]) for letter, own in strips if own is not None and own.anchored]
    ends = [-math.inf] * _LEVELS
    placed = []
    for letter, mark in sorted(marks, key=lambda own: own[1].x):
        level = next((place for place, end in enumerate(ends) if mark.x - end >= _LETTER_WIDTH), 0)
        ends[level] = mark.x
        placed.append(Letter(letter, mark.x, level, mark.beyond))
    return tuple(placed)


def _cell(score: Score | None, *, best: bool, clear: bool) -> Cell:
    if score is None:
        return Cell(number(None), note="not measured for this generator")
    if score.value is None:
        return Cell(number(None), note=score.note or "not measured")
    return Cell(
        value=number(score.value, score.unit),
        interval=interval(score.interval, decimals=decimals_of(score.value)),
        real="" if score.real is None else number(score.real, score.unit),
        best=best,
        clear=best and clear,
    )


def _best(scores: Sequence[Score | None]) -> tuple[int | None, bool]:
    """Return the place of the best value, and whether its interval holds no other value; None where two are equal."""
    known = [(place, score) for place, score in enumerate(scores) if score is not None and score.value is not None]
    losses = sorted((_loss(score), place) for place, score in known)
    if len(known) < 2 or math.isinf(losses[0][0]):
        return None, False
    if losses[0][0] == losses[1][0]:
        return None, False
    place = losses[0][1]
    bounds = next(score.interval for own, score in known if own == place)
    others = [score for own, score in known if own != place]
    clear = bounds is not None and not any(_overlap(bounds, score) for score in others)
    return place, clear


def _loss(score: Score) -> float:
    """Return how bad a value is; infinite where that cannot be said."""
    value = score.value or 0.0
    if score.better == "as real":
        return abs(value - score.real) if score.real is not None else math.inf
    return value if score.better == "lower" else -value


def _overlap(bounds: tuple[float, float], other: Score) -> bool:
    value = other.value or 0.0
    low, high = other.interval or (value, value)
    return low <= bounds[1] and high >= bounds[0]


def _pictures(evaluations: Sequence[Evaluation], letters: Sequence[str]) -> list[Picture]:
    """Draw the generated line of every evaluation over the held-out one of the first that has the plot."""
    pictures = []
    for name, label in dict.fromkeys((plot.name, plot.label) for own in evaluations for plot in own.plots):
        owned = [
            (place, plot)
            for place, own in enumerate(evaluations)
            for plot in own.plots
            if (plot.name, plot.label) == (name, label)
        ]
        first = owned[0][1]
        series = [
            Series("real-held-out", "real held-out", line.y, line.low, line.high)
            for line in first.lines
            if line.name == "real held-out"
        ]
        for place, plot in owned:
            # lines over other positions cannot share the axis
            lines = [line for line in plot.lines if line.name == "generated" and plot.x == first.x]
            series += [Series(f"column-{place % 6}", letters[place], line.y) for line in lines]
        titled = first if label is None else Plot(**{**dict(first), "title": f"{first.title}, {label}"})
        picture = draw_series(titled, series)
        if picture is not None:
            pictures.append(picture)
    return pictures


def _cautions(evaluations: Sequence[Evaluation]) -> list[str]:
    said = []
    if len({(own.held_out.digest, tuple(sorted(own.held_out.counts.items()))) for own in evaluations}) > 1:
        said.append(
            "The generators were judged against different held-out volumes: compare each with its own real column only."
        )
    if len({own.generated.box_size_voxel for own in evaluations}) > 1:
        said.append("The volumes differ in box size: distances of features, spectra and pixels depend on it.")
    counts = [sum(own.generated.counts.values()) for own in evaluations]
    if len(set(counts)) > 1:
        shown = ", ".join(f"{count}" for count in counts)
        said.append(
            f"The generated sets differ in size ({shown}): the Fréchet distance falls with the number of volumes."
        )
    return said
