"""One number, or one curve, of every set that is compared: from measurements to scores and plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from frazil.evaluation.metrics.bootstrap import Draws, Statistic, band
from frazil.evaluation.metrics.measurements import Measurements
from frazil.evaluation.metrics.metric import MINIMUM, Metric, Role
from frazil.evaluation.scores import Line, LineName, Plot, Score, known

LINES: dict[Role, LineName] = {
    "held-out": "real held-out",
    "generated": "generated",
    "real": "real training",
    "noise": "noise",
}

Values = Callable[[Measurements], Float[np.ndarray, "n ..."]]


@dataclass(frozen=True)
class Group:
    """Volumes of every set that are judged together: all of them, or those of one class. `draws` weighs the volumes of a set."""

    measured: Mapping[Role, Measurements]
    draws: Mapping[Role, Draws]
    label: str | None

    @classmethod
    def of(cls, measured: Mapping[Role, Measurements], label: str | None, *, seed: int) -> Group:
        """Return the group of a class, or of all classes in the proportions of the generated set.

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
        """Whether there are enough generated and held-out volumes."""
        return min(self.count("generated"), self.count("held-out")) >= MINIMUM

    def reference(self, values: Values) -> Float[np.ndarray, "..."]:
        """Return the mean of the held-out volumes."""
        return np.asarray(self.draws["held-out"].means(values(self.measured["held-out"]))[0])

    def score(self, metric: Metric, values: Values, statistic: Statistic = np.asarray, *, note: str = "") -> Score:
        """Return the score of a statistic of the mean over volumes, for every set.

        Where the aim is the value of real volumes, the note says what the held-out volumes have.
        """
        if not self.enough:
            return self.unmeasured(metric)
        found = {
            role: draws.estimate(values(self.measured[role]), statistic)
            for role, draws in self.draws.items()
            if self.count(role) >= MINIMUM
        }
        held_out = found["held-out"].value if metric.better == "as real" else None
        notes = (f"held-out real {held_out:.3g}" if held_out is not None else "", note)
        return metric.score(found, label=self.label, count=self.count("generated"), note="; ".join(filter(None, notes)))

    def unmeasured(self, metric: Metric, reason: str = "") -> Score:
        """Return a score without a value, and why; without a reason there were too few volumes."""
        count, held_out, of = self.count("generated"), self.count("held-out"), f" of {self.label}" if self.label else ""
        few = f"{count} generated and {held_out} held-out volumes{of}; {MINIMUM} of each are needed"
        return metric.score(label=self.label, count=count, note=reason or few)

    def plot(
        self,
        name: str,
        title: str,
        x: Float[np.ndarray, "bins"],
        values: Values,
        *,
        x_title: str,
        y_title: str,
        drawn: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ) -> Plot:
        """Return the mean curves of the sets with their 95 % bootstrap intervals (those that have enough volumes).

        `drawn` is applied to means and intervals last, e.g. a logarithm; it must not reverse their order.
        """
        lines = []
        for role, line in LINES.items():
            if role in self.draws:
                rows = self.draws[role].means(values(self.measured[role]))
                bounds = band(rows) if self.count(role) >= MINIMUM else ((), ())
                y, low, high = (
                    known(round(float(value), 5) for value in drawn(np.asarray(curve))) for curve in (rows[0], *bounds)
                )
                lines.append(Line(name=line, y=y, low=low, high=high))
        return Plot(
            name=name,
            title=title,
            x_title=x_title,
            y_title=y_title,
            label=self.label,
            x=tuple(round(float(at), 5) for at in x),
            lines=tuple(lines),
        )
