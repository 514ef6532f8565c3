"""Scores as the rows of a report's tables, grouped by question and then by metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frazil.reporting.evaluation_numbers import decimals_of, interval, number
from frazil.reporting.evaluation_strip import Strip, strip
from frazil.scores import QUESTIONS, Question, Score

ASKS: dict[Question, tuple[str, str]] = {
    "realistic": ("Realistic?", "Do generated volumes look and measure like real ones?"),
    "varied": ("Varied?", "Do they differ among themselves as real ones do?"),
    "new": ("New?", "Or are they copies of the boxes that the generator was trained on?"),
    "right class": ("Right class?", "Does a volume show the particle that its label says?"),
    "useful": ("Useful?", "Does training on them help with real volumes?"),
}
"""Each question as a heading, and in full."""

WAYS = {"lower": "lower is better", "higher": "higher is better", "as real": "best where real is"}


@dataclass(frozen=True)
class Row:
    """A score, written out.

    Parameters
    ----------
    head : its title, or its class where rows of one metric stand together.
    value, interval, real, real_interval, noise, shuffled, count : as text; empty where there is none.
    measured : whether there is a value.
    """

    head: str
    way: str
    value: str
    interval: str
    real: str
    real_interval: str
    noise: str
    shuffled: str
    count: str
    note: str
    measured: bool
    strip: Strip | None


@dataclass(frozen=True)
class Group:
    """A metric that is given class by class; `note` is what is to be said of all of its classes."""

    title: str
    way: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Answered:
    """All scores of a question.

    Parameters
    ----------
    rows : metrics over all classes together.
    groups : metrics that only classes have.
    by_class : the metrics of `rows`, class by class.
    """

    question: Question
    heading: str
    asked: str
    rows: tuple[Row, ...]
    groups: tuple[Group, ...]
    by_class: tuple[Group, ...]


def tables(scores: Sequence[Score]) -> list[Answered]:
    """Return the scores question by question, in the order in which they were measured."""
    return [_answered(question, [score for score in scores if score.question == question]) for question in QUESTIONS]


def _answered(question: Question, scores: Sequence[Score]) -> Answered:
    pooled = {score.name for score in scores if score.label is None}
    heading, asked = ASKS[question]
    return Answered(
        question=question,
        heading=heading,
        asked=asked,
        rows=tuple(_row(score, score.title) for score in scores if score.label is None),
        groups=_groups([score for score in scores if score.label is not None and score.name not in pooled]),
        by_class=_groups([score for score in scores if score.label is not None and score.name in pooled]),
    )


def _groups(scores: Sequence[Score]) -> tuple[Group, ...]:
    names = dict.fromkeys(score.name for score in scores)
    return tuple(_group([score for score in scores if score.name == name]) for name in names)


def _group(scores: Sequence[Score]) -> Group:
    notes = {score.note for score in scores if score.value is not None}
    shared = notes.pop() if len(notes) == 1 and sum(score.value is not None for score in scores) > 1 else ""
    return Group(
        title=scores[0].title,
        way=WAYS[scores[0].better],
        note=shared,
        rows=tuple(
            _row(score, score.label or "", note="" if shared and score.note == shared else score.note)
            for score in scores
        ),
    )


def _row(score: Score, head: str, *, note: str | None = None) -> Row:
    decimals = decimals_of(score.value, *(score.interval or ()))
    # noise needs no more decimals than what it is held against
    most = max(decimals, decimals_of(score.real)) if score.value is not None else None

    def beside(value: float | None) -> str:
        return "" if value is None else number(value, score.unit, decimals=_at_most(decimals_of(value), most))

    return Row(
        head=head,
        way=WAYS[score.better],
        value=number(score.value, score.unit, decimals=decimals),
        interval=interval(score.interval, decimals=decimals),
        real=beside(score.real),
        real_interval=interval(score.real_interval, decimals=_at_most(decimals_of(score.real), most)),
        noise=beside(score.noise),
        shuffled=beside(score.shuffled),
        count=f"{score.count}" if score.count else "",
        note=score.note if note is None else note,
        measured=score.value is not None,
        strip=strip(score),
    )


def _at_most(decimals: int, most: int | None) -> int:
    return decimals if most is None else min(decimals, most)
