"""From trials to the result: scores of each arm, and intervals over seeds and test tomograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64

from frazil.core.seeds import numpy_generator
from frazil.proof.arms import Arm
from frazil.proof.records import ArmResult, ClassResult, Interval
from frazil.proof.score import BETA, Counts, best_threshold, partners, weighted_score

_DRAWS = 2000
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Marked:
    """The picks of one class in one test tomogram, best first, beside its references."""

    scores: Float[np.ndarray, "n"]
    centers_angstrom: Float[np.ndarray, "n 3"]
    references_angstrom: Float[np.ndarray, "m 3"]
    radius_angstrom: float

    def counts(self, threshold: float | None) -> Counts:
        """Count with a threshold; None keeps no pick."""
        kept = self.scores >= (math.inf if threshold is None else threshold)
        right = int(self._right(kept).sum())
        return Counts(right, int(kept.sum()) - right, len(self.references_angstrom) - right)

    def best(self, count: int) -> Counts:
        """Count with the best `count` picks."""
        return self.counts(self.scores[count - 1] if 0 < count <= len(self.scores) else (None if count == 0 else 0.0))

    def marked(self) -> list[tuple[float, bool]]:
        """Return each pick's score, and whether it is right when all are kept."""
        return list(zip(self.scores.tolist(), self._right(np.ones(len(self.scores), bool)).tolist(), strict=True))

    def _right(self, kept: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "k"]:
        return partners(self.centers_angstrom[kept], self.references_angstrom, self.radius_angstrom) >= 0


@dataclass(frozen=True)
class Tested:
    """One picker's test: by class, a `Marked` for each test tomogram, in order, and the thresholds."""

    marked: Mapping[str, Sequence[Marked]]
    thresholds: Mapping[str, float | None]

    def counts(self) -> dict[str, list[Counts]]:
        """Count each class in each test tomogram."""
        return {
            label: [one.counts(self.thresholds[label]) for one in several] for label, several in self.marked.items()
        }


def tested(
    picks: pd.DataFrame,
    thresholds: Mapping[str, float | None],
    references: Mapping[str, Sequence[Float[np.ndarray, "m 3"]]],
    runs: Sequence[str],
    radii_angstrom: Mapping[str, float],
) -> Tested:
    """Put picks beside the `references` of each class in each of `runs`."""
    marked = {}
    for label, wanted in references.items():
        own = picks[picks["label"] == label].sort_values("score", ascending=False, kind="stable")
        marked[label] = [
            Marked(
                some["score"].to_numpy(float), some[["z", "y", "x"]].to_numpy(float), centers, radii_angstrom[label]
            )
            for some, centers in ((own[own["run"] == run], centers) for run, centers in zip(runs, wanted, strict=True))
        ]  # fmt: skip
    return Tested(marked, thresholds)


def summarize(
    arms: Sequence[Arm], trials: Mapping[str, Sequence[Tested]], weights: Mapping[str, float]
) -> tuple[tuple[ArmResult, ...], str | None]:
    """Return what each arm reached, and the name of the best cheap arm. `trials` has those of each arm, by seed."""
    counts = {arm.name: _Table.of([trial.counts() for trial in trials[arm.name]]) for arm in arms}
    scores = {name: table.scores(weights) for name, table in counts.items()}
    cheap = [arm.name for arm in arms if arm.cheap]
    best = max(cheap, key=lambda name: scores[name].mean()) if cheap else None
    results = []
    for arm in arms:
        table, by_class = counts[arm.name], {}
        for label in trials[arm.name][0].marked:
            by_class[label] = _class_result(label, [trial.marked[label] for trial in trials[arm.name]], table)
        ceilings = {label: one.ceiling for label, one in by_class.items()}
        total = sum(weights[label] for label in ceilings)
        gain = None
        if best is not None and arm.name != best:
            gain = _interval(*_drawn_pair(table, counts[best], weights))
        results.append(
            ArmResult(
                name=arm.name,
                shares=arm.shares,
                cheap=arm.cheap,
                f_beta=_interval(scores[arm.name].mean(), table.drawn(weights)),
                by_seed=tuple(scores[arm.name].tolist()),
                gain=gain,
                ceiling=sum(weights[label] * value for label, value in ceilings.items()) / total,
                classes=by_class,
            )
        )
    return tuple(results), best


@dataclass(frozen=True)
class _Table:
    """Right, false and missed of an arm: `(seeds, classes, tomograms, 3)`."""

    labels: tuple[str, ...]
    numbers: Int64[np.ndarray, "seeds classes tomograms 3"]

    @classmethod
    def of(cls, trials: Sequence[Mapping[str, Sequence[Counts]]]) -> _Table:
        rows = [
            [[(one.right, one.false, one.missed) for one in several] for several in trial.values()] for trial in trials
        ]
        return cls(tuple(trials[0]), np.array(rows, dtype=np.int64))

    def scores(
        self, weights: Mapping[str, float], tomograms: Int64[np.ndarray, "t"] | None = None
    ) -> Float[np.ndarray, "seeds"]:
        """Return the weighted score of each seed, counts summed over the tomograms, or over those that were drawn."""
        chosen = self.numbers if tomograms is None else self.numbers[:, :, tomograms]
        return np.array(
            [
                weighted_score({label: Counts(*row) for label, row in zip(self.labels, rows, strict=True)}, weights)
                for rows in chosen.sum(axis=2).tolist()
            ]
        )

    def drawn(self, weights: Mapping[str, float]) -> Float[np.ndarray, "draws"]:
        """Return the mean score with seeds and tomograms drawn again, with replacement; the draws are the same for all arms."""
        random = numpy_generator(0, "bootstrap")
        seeds, _, tomograms, _ = self.numbers.shape
        found = []
        for _ in range(_DRAWS):
            chosen = random.integers(tomograms, size=(tomograms,))
            found.append(self.scores(weights, chosen)[random.integers(seeds, size=(seeds,))].mean())
        return np.array(found)


def _drawn_pair(one: _Table, other: _Table, weights: Mapping[str, float]) -> tuple[float, Float[np.ndarray, "draws"]]:
    difference = float((one.scores(weights) - other.scores(weights)).mean())
    return difference, one.drawn(weights) - other.drawn(weights)


def _interval(mean: float, draws: Float[np.ndarray, "draws"]) -> Interval:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(mean=float(mean), low=float(low), high=float(high))


def _class_result(label: str, trials: Sequence[Sequence[Marked]], table: _Table) -> ClassResult:
    """Return the means over seeds of one class; counts are summed over tomograms first."""
    number = table.labels.index(label)
    totals = [Counts(*row) for row in table.numbers[:, number].sum(axis=1).tolist()]
    references = sum(len(one.references_angstrom) for one in trials[0])

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    ceilings, fixed, curves = [], [], []
    for trial in trials:
        every = [pair for one in trial for pair in one.marked()]
        best = best_threshold(every, references)
        ceilings.append(sum((one.counts(best) for one in trial), Counts()).f_score())
        fixed.append(sum((one.best(len(one.references_angstrom)) for one in trial), Counts()).recall)
        curves.append(_curve(every, references))
    reached = np.isfinite(np.array(curves)).mean(axis=0) > 0.5  # by most pickers
    means = [float(np.nanmean(column)) if ok else None for column, ok in zip(np.array(curves).T, reached, strict=True)]
    return ClassResult(
        particles=references,
        f_beta=mean([one.f_score(BETA) for one in totals]),
        precision=mean([one.precision for one in totals]),
        recall=mean([one.recall for one in totals]),
        f1=mean([one.f_score(1) for one in totals]),
        ceiling=mean(ceilings),
        recall_at_picks=mean(fixed),
        curve=tuple(means),
    )


def _curve(marked: Sequence[tuple[float, bool]], references: int) -> Float[np.ndarray, "101"]:
    """Return the best precision with at least each recall; NaN where none is reached."""
    right = np.cumsum([good for _, good in sorted(marked, reverse=True)], dtype=float)
    precision, recall = right / np.arange(1, len(right) + 1), right / max(1, references)
    best = np.array([precision[recall >= least].max(initial=-1) for least in _RECALLS])
    return np.where(best < 0, np.nan, best)
