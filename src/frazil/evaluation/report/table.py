"""Scores as the rows of a report's tables, grouped by question and then by metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from frazil.evaluation.report.numbers import decimals_of, interval, number
from frazil.evaluation.report.strip import Failure, Strip, strip
from frazil.evaluation.scores import QUESTIONS, Question, Score

ASKS: dict[Question, tuple[str, str]] = {
    "realistic": ("Realistic?", "Do generated volumes look and measure like real ones?"),
    "varied": ("Varied?", "Do they differ among themselves as real ones do?"),
    "new": ("New?", "Or are they copies of the boxes that the generator was trained on?"),
    "right class": ("Right class?", "Does a volume show the particle that its label says?"),
    "useful": ("Useful?", "Does training on them help with real volumes?"),
}
"""Each question as a heading, and in full."""

RIVALS_TITLE = "What a user would try first (no generated volumes)"

_RIVALS = ("augment_copy_paste_", "gain_copy_paste", "augment_turns_", "gain_turns")
"""Scores of trainings without a generated volume: their names start with one of these."""

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
class Unmeasured:
    """Scores that were not measured for the same reason.

    Parameters
    ----------
    metrics : titles, each with the classes that are meant if it was measured for others.
    """

    metrics: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Table:
    """Rows under one heading.

    Parameters
    ----------
    rows : metrics over all classes together.
    groups : metrics that are given class by class.
    unmeasured : what would have been more than one row with nothing but the same note.
    failures : what stands opposite of real on the strips; empty where no row has a strip.
    """

    rows: tuple[Row, ...] = ()
    groups: tuple[Group, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.rows or self.groups or self.unmeasured)


@dataclass(frozen=True)
class Answered:
    """All scores of a question.

    Parameters
    ----------
    together : metrics over all classes together.
    classes_only : metrics that only classes have.
    by_class : the metrics of `together`, class by class.
    rivals : of what is done without generated volumes.
    """

    question: Question
    heading: str
    asked: str
    together: Table
    classes_only: Table
    by_class: Table
    rivals: Table


def tables(scores: Sequence[Score]) -> list[Answered]:
    """Return the scores question by question, in the order in which they were measured."""
    return [_answered(question, [score for score in scores if score.question == question]) for question in QUESTIONS]


def is_rival(score: Score) -> bool:
    """Tell whether no generated volume has a part in a score."""
    return score.name.startswith(_RIVALS)


def failures_of(strips: Iterable[Strip | None]) -> tuple[Failure, ...]:
    """Return what stands at the left of the strips, noise first."""
    shown = {own.failure for own in strips if own is not None}
    kinds: tuple[Failure, ...] = ("noise", "shuffled")
    return tuple(kind for kind in kinds if kind in shown)


def split_unmeasured(
    scores: Sequence[Score], *, among: Sequence[Score] | None = None
) -> tuple[list[Score], tuple[Unmeasured, ...]]:
    """Return the scores that have a row of their own, and the others: those that share a note and have nothing else.

    Parameters
    ----------
    among : all scores of the table, by which it is told whether a metric is unmeasured for all classes; None: `scores`.
    """
    among = scores if among is None else among
    notes = Counter(score.note for score in scores if _is_bare(score))
    shared = [note for note, count in notes.items() if count > 1]
    unmeasured = [
        Unmeasured(_metrics([score for score in scores if _is_bare(score) and score.note == note], among), note)
        for note in shared
    ]
    return [score for score in scores if not (_is_bare(score) and score.note in shared)], tuple(unmeasured)


def _is_bare(score: Score) -> bool:
    return all(value is None for value in (score.value, score.real, score.noise, score.shuffled))


def _metrics(alike: Sequence[Score], among: Sequence[Score]) -> tuple[str, ...]:
    said = []
    for name in dict.fromkeys(score.name for score in alike):
        own = [score for score in alike if score.name == name]
        labels = [score.label for score in own if score.label is not None]
        some = labels and len(own) < sum(score.name == name for score in among)
        said.append(f"{own[0].title} ({', '.join(labels)})" if some else own[0].title)
    return tuple(said)


def _answered(question: Question, scores: Sequence[Score]) -> Answered:
    rivals = [score for score in scores if is_rival(score)]
    own = [score for score in scores if not is_rival(score)]
    pooled = {score.name for score in own if score.label is None}
    heading, asked = ASKS[question]
    return Answered(
        question=question,
        heading=heading,
        asked=asked,
        together=_table([score for score in own if score.label is None]),
        classes_only=_table([score for score in own if score.label is not None and score.name not in pooled]),
        by_class=_table([score for score in own if score.label is not None and score.name in pooled]),
        rivals=_table([score.model_copy(update={"title": without_rival(score.title)}) for score in rivals]),
    )


def without_rival(title: str) -> str:
    """Return the title without what the heading of the table says."""
    rest = title.removeprefix("Rival: ")
    return rest[:1].upper() + rest[1:]


def _table(scores: Sequence[Score]) -> Table:
    shown, unmeasured = split_unmeasured(scores)
    rows = tuple(_row(score, score.title) for score in shown if score.label is None)
    groups = _groups([score for score in shown if score.label is not None])
    every = [*rows, *(row for group in groups for row in group.rows)]
    return Table(rows, groups, unmeasured, failures_of(row.strip for row in every))


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
