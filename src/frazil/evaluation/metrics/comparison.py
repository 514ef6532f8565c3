"""One number, or one curve, of every set that an evaluation compares: from measurements to scores and plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from frazil.evaluation.metrics.bootstrap import Draws, Estimate, band
from frazil.evaluation.metrics.measurements import Measurements
from frazil.evaluation.scores import Better, Line, Plot, Question, Score

Role = Literal["generated", "held-out", "real", "noise", "shuffled"]

_LINES: dict[Role, Literal["generated", "real held-out", "real training", "noise"]] = {
    "held-out": "real held-out",
    "generated": "generated",
    "real": "real training",
    "noise": "noise",
}

MINIMUM = 5
"""Volumes, of each set, that a mean with an interval takes."""

Values = Callable[[Measurements], Float[np.ndarray, "n ..."]]
Statistic = Callable[[Float[np.ndarray, "rows ..."]], Float[np.ndarray, "rows"]]


@dataclass(frozen=True)
class Metric:
    """What a score is called and how good it is to be high; see `frazil.evaluation.scores.Score`."""

    name: str
    title: str
    better: Better
    question: Question = "realistic"
    unit: str = ""


@dataclass(frozen=True)
class Comparison:
    """The same volumes of every set: all of them, or those of one class.

    Parameters
    ----------
    measured : of every set.
    draws : weights of the volumes of each, for means and intervals.
    label : class; None for all.
    """

    measured: Mapping[Role, Measurements]
    draws: Mapping[Role, Draws]
    label: str | None

    @classmethod
    def of(cls, measured: Mapping[Role, Measurements], label: str | None, *, seed: int) -> Comparison:
        """Return the comparison of a class, or of all classes in the proportions of the generated set.

        A class that was not held out cannot be compared, and counts nowhere.
        """
        if label is not None:
            measured = {role: numbers.of(label) for role, numbers in measured.items()}
        generated = measured["generated"].labels
        common = sorted({*map(str, generated)} & {*map(str, measured["held-out"].labels)})
        shares = {name: float((generated == name).mean()) for name in common}
        draws = {
            role: Draws.of(numbers.labels, shares, seed=seed, purpose=f"physics {role} {label or ''}")
            for role, numbers in measured.items()
            if np.isin(numbers.labels, common).any()
        }
        return cls(measured, draws, label)

    def count(self, role: Role) -> int:
        """Return how many volumes of a set take part."""
        return int((self.draws[role].weights[0] > 0).sum()) if role in self.draws else 0

    @property
    def enough(self) -> bool:
        """Say whether there are enough generated and held-out volumes."""
        return min(self.count("generated"), self.count("held-out")) >= MINIMUM

    def reference(self, values: Values) -> Float[np.ndarray, "..."]:
        """Return the mean of the held-out volumes."""
        return np.asarray(self.draws["held-out"].means(values(self.measured["held-out"]))[0])

    def score(self, metric: Metric, values: Values, statistic: Statistic, *, note: str = "") -> Score:
        """Return the score of a statistic of the mean over volumes, beside that of every other set.

        Where the aim is to be as real ones, the note says what the held-out volumes have.
        """
        if not self.enough:
            return self.unmeasured(metric)
        found = {role: self._estimate(role, values, statistic) for role in self.draws}
        held_out = found["held-out"].value
        said = [f"held-out real {held_out:.3g}"] if metric.better == "as real" and held_out is not None else []
        nothing = Estimate()
        real = found.get("real", nothing)
        return Score(
            name=metric.name,
            title=metric.title,
            question=metric.question,
            label=self.label,
            unit=metric.unit,
            value=found["generated"].value,
            interval=found["generated"].interval,
            real=real.value,
            real_interval=real.interval,
            noise=found.get("noise", nothing).value,
            shuffled=found.get("shuffled", nothing).value,
            better=metric.better,
            count=self.count("generated"),
            note="; ".join([*said, note] if note else said),
        )

    def unmeasured(self, metric: Metric, reason: str = "") -> Score:
        """Return a score without a value, and why; without a reason there were too few volumes."""
        of = f" of {self.label}" if self.label else ""
        few = (
            f"{self.count('generated')} generated and {self.count('held-out')} held-out volumes{of}; "
            f"{MINIMUM} of each are needed"
        )
        return Score(
            name=metric.name,
            title=metric.title,
            question=metric.question,
            label=self.label,
            unit=metric.unit,
            value=None,
            better=metric.better,
            count=self.count("generated"),
            note=reason or few,
        )

    def plot(
        self,
        name: str,
        title: str,
        x: Float[np.ndarray, "bins"],
        values: Values,
        *,
        x_title: str,
        y_title: str,
        drawn: Callable[[np.ndarray], np.ndarray] = lambda mean: mean,
    ) -> Plot:
        """Return the mean curves of the sets with their 95 % bootstrap intervals (those that have enough volumes).

        Parameters
        ----------
        drawn : applied to means and intervals at last, e.g. a logarithm; must not turn their order around.
        """
        lines = []
        for role, line in _LINES.items():
            if role not in self.draws:
                continue
            rows = self.draws[role].means(values(self.measured[role]))
            low, high = band(rows) if self.count(role) >= MINIMUM else (None, None)
            lines.append(
                Line(
                    name=line,
                    y=_numbers(drawn(rows[0])),
                    low=() if low is None else _numbers(drawn(low)),
                    high=() if high is None else _numbers(drawn(high)),
                )
            )
        at = tuple(round(float(one), 5) for one in x)
        return Plot(
            name=name, title=title, x_title=x_title, y_title=y_title, label=self.label, x=at, lines=tuple(lines)
        )

    def _estimate(self, role: Role, values: Values, statistic: Statistic) -> Estimate:
        if self.count(role) < MINIMUM:
            return Estimate()
        return self.draws[role].estimate(values(self.measured[role]), statistic)


def _numbers(curve: Float[np.ndarray, "bins"]) -> tuple[float | None, ...]:
    return tuple(round(float(one), 5) if np.isfinite(one) else None for one in curve)
