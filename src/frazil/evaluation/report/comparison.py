"""Several evaluations side by side: the same rows, a column each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from frazil.evaluation.report.numbers import decimals_of, interval, number
from frazil.evaluation.report.plot import Picture, Series, draw_series
from frazil.evaluation.report.strip import Failure, Strip, strip
from frazil.evaluation.report.table import (
    ASKS,
    WAYS,
    Unmeasured,
    failures_of,
    is_rival,
    split_unmeasured,
    without_rival,
)
from frazil.evaluation.scores import QUESTIONS, Evaluation, Plot, Question, Score

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LEVELS, _LETTER_WIDTH = 3, 13.0


@dataclass(frozen=True)
class Cell:
    """What a generator reached.

    Parameters
    ----------
    value, interval, real, note : as text; `value` is a dash where nothing was measured.
    best : it is the best of its row, and no other's interval overlaps its own.
    """

    value: str
    interval: str = ""
    real: str = ""
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Letter:
    """A generator on the strip of a row; letters that would touch stand on other `level` (0 to 2)."""

    letter: str
    x: float
    level: int
    beyond: int


@dataclass(frozen=True)
class ComparedRow:
    """A score of every generator, in the order of the generators.

    Parameters
    ----------
    undecided : why none of several values is called the best; empty where one is.
    failures : what stands opposite of real on the strips of the generators.
    """

    title: str
    label: str | None
    way: str
    undecided: str
    cells: tuple[Cell, ...]
    marks: tuple[Letter, ...]
    failures: tuple[Failure, ...]
    alt: str


@dataclass(frozen=True)
class ComparedTable:
    """Rows under one heading.

    Parameters
    ----------
    unmeasured : what would have been more than one row without a value, for the same reason everywhere.
    failures : what stands opposite of real on the strips; empty where no row has a strip.
    """

    rows: tuple[ComparedRow, ...]
    unmeasured: tuple[Unmeasured, ...]
    failures: tuple[Failure, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.rows or self.unmeasured)


@dataclass(frozen=True)
class ComparedQuestion:
    """The scores of a question: of all classes together, class by class, and what is done without generated volumes."""

    question: Question
    heading: str
    asked: str
    together: ComparedTable
    by_class: ComparedTable
    rivals: ComparedTable

    @property
    def is_empty(self) -> bool:
        """Whether no generator has a score of it."""
        return self.together.is_empty and self.by_class.is_empty and self.rivals.is_empty


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
    rows = [[scores.get(key) for scores in found] for key in keys]
    heading, asked = ASKS[question]
    generated = [row for row in rows if not is_rival(_first(row))]
    return ComparedQuestion(
        question=question,
        heading=heading,
        asked=asked,
        together=_table([row for row in generated if _first(row).label is None], letters),
        by_class=_table([row for row in generated if _first(row).label is not None], letters),
        rivals=_table([row for row in rows if is_rival(_first(row))], letters, ranked=False),
    )


def _first(row: Sequence[Score | None]) -> Score:
    return next(score for score in row if score is not None)


def _table(rows: Sequence[Sequence[Score | None]], letters: Sequence[str], *, ranked: bool = True) -> ComparedTable:
    """Lay out rows; without `ranked` none is the best of its row."""
    # what lacks its value for one reason in one generator and for another in the next keeps its row
    alike = [row for row in rows if len({None if score is None else score.note for score in row}) == 1]
    empty = [row for row in alike if all(score is not None and score.value is None for score in row)]
    _, unmeasured = split_unmeasured([_first(row) for row in empty], among=[_first(row) for row in rows])
    told = {one.note for one in unmeasured}
    shown = [row for row in rows if not (row in empty and _first(row).note in told)]
    laid = tuple(_row(row, letters, ranked=ranked) for row in shown)
    kinds: tuple[Failure, ...] = ("noise", "shuffled")
    return ComparedTable(laid, unmeasured, tuple(kind for kind in kinds if any(kind in row.failures for row in laid)))


def _row(scores: Sequence[Score | None], letters: Sequence[str], *, ranked: bool) -> ComparedRow:
    known = _first(scores)
    best, undecided = _best(scores) if ranked else (None, "")
    said = [
        f"{letter} {number(score.value, score.unit)}"
        for letter, score in zip(letters, scores, strict=True)
        if score is not None and score.value is not None
    ]
    strips = [strip(score) if score is not None else None for score in scores]
    return ComparedRow(
        title=known.title if ranked else without_rival(known.title),
        label=known.label,
        way=WAYS[known.better],
        undecided=undecided,
        cells=tuple(_cell(score, best=place == best) for place, score in enumerate(scores)),
        marks=_letters(strips, letters),
        failures=failures_of(strips),
        alt=", ".join(said),
    )


def _letters(strips: Sequence[Strip | None], letters: Sequence[str]) -> tuple[Letter, ...]:
    marks = [(letter, own.marks[-1]) for letter, own in zip(letters, strips, strict=True) if own is not None]
    ends = [-math.inf] * _LEVELS
    placed = []
    for letter, mark in sorted(marks, key=lambda own: own[1].x):
        level = next((place for place, end in enumerate(ends) if mark.x - end >= _LETTER_WIDTH), 0)
        ends[level] = mark.x
        placed.append(Letter(letter, mark.x, level, mark.beyond))
    return tuple(placed)


def _cell(score: Score | None, *, best: bool) -> Cell:
    if score is None:
        return Cell(number(None), note="not measured for this generator")
    if score.value is None:
        return Cell(number(None), note=score.note or "not measured")
    return Cell(
        value=number(score.value, score.unit),
        interval=interval(score.interval, decimals=decimals_of(score.value)),
        real="" if score.real is None else number(score.real, score.unit),
        best=best,
    )


def _best(scores: Sequence[Score | None]) -> tuple[int | None, str]:
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
    if any(_overlap(bounds, score) for own, score in known if own != place):
        return None, "intervals overlap: no clear best" if len(known) > 2 else "intervals overlap: no clear difference"
    return place, ""


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
    if len({tuple(sorted(own.generated.counts.items())) for own in evaluations}) > 1:
        shown = ", ".join(f"{sum(own.generated.counts.values())}" for own in evaluations)
        said.append(
            f"The generated sets have other numbers of volumes ({shown}), in all or by class: Fréchet distance, Vendi score, "
            "precision and recall depend on them."
        )
    if len({own.seed for own in evaluations}) > 1:
        shown = ", ".join(f"{own.seed}" for own in evaluations)
        said.append(f"The generators were judged with other seeds ({shown}).")
    return said
