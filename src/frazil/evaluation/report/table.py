"""Scores of one evaluation or of several as the rows of a page's tables, grouped by question and then by metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from frazil.evaluation.report.numbers import decimals_of, interval, number
from frazil.evaluation.report.strip import Failure, Strip, strip
from frazil.evaluation.scores import QUESTIONS, Evaluation, Question, Score

ASKS: dict[Question, tuple[str, str]] = {
    "realistic": ("Realistic?", "Do generated volumes look and measure like real ones?"),
    "near real data": (
        "Near real data?",
        "Do slices have the power, gray values, and profiles that were measured on real ones?",
    ),
    "varied": ("Varied?", "Do they differ among themselves as real ones do?"),
    "new": ("New?", "Or are they copies of the boxes that the generator was trained on?"),
    "right class": ("Right class?", "Does a volume show the particle that its label says?"),
    "useful": ("Useful?", "Does training on them help with real volumes?"),
}
"""Each question as a heading, and in full."""

RIVALS_TITLE = "What a user would try first (no generated volumes)"

_RIVALS = ("augment_copy_paste_", "gain_copy_paste", "augment_turns_", "gain_turns")
"""Names of scores of trainings without generated volumes start with one of these."""

WAYS = {"lower": "lower is better", "higher": "higher is better", "as real": "best where real is"}


@dataclass(frozen=True)
class Row:
    """The scores of one metric and class: one per evaluation, None where it has none. `note` is that of a single evaluation."""

    scores: tuple[Score | None, ...]
    head: str
    note: str

    @property
    def first(self) -> Score:
        """The score of the first evaluation that has one."""
        return next(score for score in self.scores if score is not None)

    @property
    def way(self) -> str:
        """Which way is good, in words."""
        return WAYS[self.first.better]

    @cached_property
    def strips(self) -> tuple[Strip | None, ...]:
        """Where each score is between failure and real volumes."""
        return tuple(None if score is None else strip(score) for score in self.scores)

    @property
    def bare(self) -> bool:
        """Whether it has nothing but a note, the same for all evaluations."""
        scores = [score for score in self.scores if score is not None]
        values = {value for one in scores for value in (one.value, one.real, one.noise, one.shuffled)}
        return values == {None} and len(scores) == len(self.scores) and len({one.note for one in scores}) == 1


class Group(NamedTuple):
    """The classes of a metric; `note` is what all of them have in common."""

    title: str
    way: str
    note: str
    rows: tuple[Row, ...]


class Unmeasured(NamedTuple):
    """Metrics that were not measured for the same reason, each with the classes meant if it was measured for others."""

    metrics: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Table:
    """Rows under one heading: metrics over all classes together, and class by class; and the reasons why others are missing."""

    rows: tuple[Row, ...]
    groups: tuple[Group, ...]
    unmeasured: tuple[Unmeasured, ...]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What the strips have opposite real, noise first; empty where no row has a strip."""
        rows = [*self.rows, *(row for group in self.groups for row in group.rows)]
        return tuple(sorted({own.failure for row in rows for own in row.strips if own is not None}))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.rows or self.groups or self.unmeasured)


class Answered(NamedTuple):
    """The scores of a question: over all classes, of metrics that only classes have, the first class by class, and of rivals."""

    question: Question
    together: Table
    classes_only: Table
    by_class: Table
    rivals: Table


def tables(evaluations: Sequence[Evaluation]) -> list[Answered]:
    """Return the scores question by question, metric by metric in the order in which they were measured."""
    return [_answered(question, evaluations) for question in QUESTIONS]


def written(score: Score | None) -> dict[str, str]:
    """Return the numbers of a score as text; empty where there is none, a dash for a missing value."""
    if score is None:
        return {"value": number(None), "interval": "", "real": "", "note": "not measured for this generator"}
    decimals = decimals_of(score.value, *(score.interval or ()))
    # noise needs no more decimals than what it is compared with
    most = max(decimals, decimals_of(score.real)) if score.value is not None else 99

    def beside(value: float | None) -> str:
        return "" if value is None else number(value, score.unit, decimals=min(decimals_of(value), most))

    return {
        "value": number(score.value, score.unit, decimals=decimals),
        "interval": interval(score.interval, decimals=decimals),
        "real": beside(score.real),
        "real_interval": interval(score.real_interval, decimals=min(decimals_of(score.real), most)),
        "noise": beside(score.noise),
        "shuffled": beside(score.shuffled),
        "count": f"{score.count}" if score.count else "",
        "note": "" if score.value is not None else score.note or "not measured",
    }


def _answered(question: Question, evaluations: Sequence[Evaluation]) -> Answered:
    found = [
        {(score.name, score.label): score for score in own.scores if score.question == question} for own in evaluations
    ]
    keys = dict.fromkeys(key for scores in found for key in scores)
    names = dict.fromkeys(name for name, _ in keys)
    rows = [_row(tuple(scores.get(key) for scores in found)) for own in names for key in keys if key[0] == own]
    rivals = [row for row in rows if row.first.name.startswith(_RIVALS)]
    own = [row for row in rows if not row.first.name.startswith(_RIVALS)]
    together = [row for row in own if row.first.label is None]
    pooled = {row.first.name for row in together}
    classes_only = [row for row in own if row.first.name not in pooled]
    by_class = [row for row in own if row.first.label is not None and row.first.name in pooled]
    return Answered(question, *map(_table, (together, classes_only, by_class, rivals)))


def _row(scores: tuple[Score | None, ...]) -> Row:
    first = next(score for score in scores if score is not None)
    title = first.title
    if title.startswith("Rival: "):  # the heading of the table says it
        title = title[7:8].upper() + title[8:]
    return Row(scores, first.label or title, first.note if len(scores) == 1 else "")


def _table(rows: Sequence[Row]) -> Table:
    bare = [row.first.note for row in rows if row.bare]
    shared = [note for note in dict.fromkeys(bare) if bare.count(note) > 1]
    shown = [row for row in rows if not (row.bare and row.first.note in shared)]
    names = dict.fromkeys(row.first.name for row in shown if row.first.label is not None)
    return Table(
        rows=tuple(row for row in shown if row.first.label is None),
        groups=tuple(_group([row for row in shown if row.first.label and row.first.name == name]) for name in names),
        unmeasured=tuple(Unmeasured(_metrics(rows, note), note) for note in shared),
    )


def _metrics(rows: Sequence[Row], note: str) -> tuple[str, ...]:
    """Name the metrics that have nothing but this note, with the classes meant where others of the table have a row."""
    titles: dict[str, str] = {}
    for name in dict.fromkeys(row.first.name for row in rows if row.bare and row.first.note == note):
        every = [row for row in rows if row.first.name == name]
        alike = [row.first for row in every if row.bare and row.first.note == note]
        labels = [score.label for score in alike if score.label is not None]
        titles[name] = alike[0].title + (f" ({', '.join(labels)})" if labels and len(alike) < len(every) else "")
    return tuple(titles.values())


def _group(rows: Sequence[Row]) -> Group:
    """Put the rows of a metric together; a note that all measured classes share goes to the heading."""
    measured = [row.note for row in rows if row.first.value is not None]
    shared = measured[0] if len(measured) > 1 and len(set(measured)) == 1 else ""
    kept = tuple(Row(row.scores, row.head, "" if row.note == shared else row.note) for row in rows)
    return Group(rows[0].first.title, rows[0].way, shared, kept)
