"""Bootstrap: 95 % intervals by drawing volumes again, from what was measured once of each volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.metric import Estimate
from frazil.evaluation.scores import Interval

REPLICATES = 1000

_BOUNDS_PERCENT = (2.5, 97.5)

Statistic = Callable[[Float[np.ndarray, "rows ..."]], Float[np.ndarray, "rows"]]
"""One number from each row of means."""


def percentile_interval(drawn: Float[np.ndarray, "replicates"]) -> Interval:
    """Return the 95 % interval of a statistic from its draws; those in which it is not defined (NaN) do not count."""
    low, high = np.nanpercentile(drawn, _BOUNDS_PERCENT)
    return float(low), float(high)


def unbiased_interval(value: float, drawn: Float[np.ndarray, "replicates"]) -> Interval:
    """Return the 95 % interval of a statistic that depends on how many different samples there are.

    A draw holds fewer different samples than the set, which shifts the statistic. The spread of the draws is kept, their
    shift is taken off.
    """
    low, high = value + np.percentile(drawn, _BOUNDS_PERCENT) - drawn.mean()
    return float(low), float(high)


def band(rows: Float[np.ndarray, "rows bins"]) -> tuple[Float[np.ndarray, "bins"], Float[np.ndarray, "bins"]]:
    """Return the 95 % interval of a mean curve, bin by bin, from its draws (row 0, the curve itself, is left out)."""
    low, high = np.percentile(rows[1:], _BOUNDS_PERCENT, axis=0)
    return low, high


def times_drawn(
    count: int, random: np.random.Generator, replicates: int = REPLICATES
) -> Int64[np.ndarray, "replicates n"]:
    """Return how often each of `count` samples is in each set that is drawn from them with replacement."""
    return random.multinomial(count, np.full(count, 1 / count), size=replicates)


def drawn_again(values: Float[np.ndarray, "n"], random: np.random.Generator) -> Float[np.ndarray, "replicates n"]:
    """Return sets drawn from `values` with replacement."""
    return values[random.integers(len(values), size=(REPLICATES, len(values)))]


@dataclass(frozen=True)
class Draws:
    """Weights of the volumes of a set, which sum to 1: the set itself in row 0, sets drawn from it with replacement below."""

    weights: Float[np.ndarray, "rows n"]

    @classmethod
    def of(cls, labels: np.ndarray, shares: Mapping[str, float], *, seed: int, purpose: str) -> Draws:
        """Return draws in which each class counts with its share, whatever its number in the set.

        Volumes are drawn within their classes, so that sets with other proportions of classes are compared like with like.
        Classes without a share do not count, nor do those that the set has none of.
        """
        random = numpy_generator(seed, "evaluation bootstrap", purpose)
        weights = np.zeros((REPLICATES + 1, len(labels)))
        for label in sorted(shares):
            rows = np.flatnonzero(labels == label)
            if len(rows):
                each = shares[label] / len(rows)
                weights[0, rows] = each
                weights[1:, rows] = times_drawn(len(rows), random) * each
        return cls(weights / weights[0].sum())

    def means(self, values: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "rows ..."]:
        """Return the weighted mean of the set and of every draw; NaN only in columns that hold one."""
        flat = values.reshape(len(values), -1)
        return np.asarray((self.weights.astype(flat.dtype) @ flat).reshape(-1, *values.shape[1:]))

    def estimate(
        self,
        values: Float[np.ndarray, "n ..."],
        statistic: Statistic,
    ) -> Estimate:
        """Return a statistic (NaN where it is not defined) of the mean over volumes, with its 95 % percentile interval.

        Distances cannot be negative, so draws lie further from the reference than the set itself; the interval is widened
        to hold the value.
        """
        found = statistic(self.means(values))
        value, drawn = float(found[0]), found[1:][np.isfinite(found[1:])]
        if not np.isfinite(value):
            return Estimate()
        if len(drawn) < (len(found) - 1) / 2:
            return Estimate(value)
        low, high = percentile_interval(drawn)
        return Estimate(value, (min(low, value), max(high, value)))
