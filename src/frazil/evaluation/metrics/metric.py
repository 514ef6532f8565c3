"""What is measured, what was found of it, and the score that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from frazil.evaluation.scores import Better, Interval, Question, Score

MINIMUM = 5
"""Volumes that a statement about a set, or a class, takes."""

Role = Literal["generated", "held-out", "real", "noise", "shuffled"]
"""Of a set of volumes in a score: judged, the reference, what real training volumes reach, and what failures look like."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; None where it is not known."""

    value: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class Metric:
    """What a `Score` is called, and which way is good."""

    name: str
    title: str
    better: Better
    question: Question = field(default="realistic", kw_only=True)
    unit: str = field(default="", kw_only=True)

    def score(
        self,
        found: Mapping[Role, Estimate] | None = None,
        *,
        label: str | None = None,
        count: int = 0,
        note: str = "",
    ) -> Score:
        """Return the score of the generated volumes next to that of the other sets; without `found` it was not measured."""
        of = {role: (found or {}).get(role, Estimate()) for role in ("generated", "real", "noise", "shuffled")}
        return Score(
            **vars(self),
            label=label,
            value=of["generated"].value,
            interval=of["generated"].interval,
            real=of["real"].value,
            real_interval=of["real"].interval,
            noise=of["noise"].value,
            shuffled=of["shuffled"].value,
            count=count,
            note=note,
        )
