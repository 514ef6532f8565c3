"""Intervals by drawing volumes again, from what was measured once of each volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from frazil.core.seeds import numpy_generator
from frazil.evaluation.scores import Interval

REPLICATES = 1000


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; None where it cannot be said."""

    value: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class Draws:
    """Weights of the volumes of a set: the set as it is in row 0, sets drawn from it with replacement below.

    Every row sums to 1.
    """

    weights: Float[np.ndarray, "rows n"]

    @classmethod
    def of(
        cls,
        labels: np.ndarray,
        shares: Mapping[str, float],
        *,
        seed: int,
        purpose: str,
        replicates: int = REPLICATES,
    ) -> Draws:
        """Return draws in which each class counts with its share, whatever its number in the set.

        Volumes are drawn within their classes. So a set whose classes stand in other numbers is compared like with like.

        Parameters
        ----------
        labels : `(n,)` classes of the volumes.
        shares : of each class that counts; those that the set has none of are left out.
        purpose : names the draw, see `frazil.core.seeds`.
        """
        random = numpy_generator(seed, "evaluation bootstrap", purpose)
        weights = np.zeros((replicates + 1, len(labels)))
        for label in sorted(shares):
            rows = np.flatnonzero(labels == label)
            if len(rows):
                count = len(rows)
                weights[0, rows] = shares[label] / count
                weights[1:, rows] = random.multinomial(count, np.full(count, 1 / count), replicates) * (
                    shares[label] / count
                )
        return cls(weights / weights[0].sum())

    def means(self, values: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "rows ..."]:
        """Return the weighted mean of the set and of every draw; NaN only in columns that hold one."""
        flat = values.reshape(len(values), -1)
        return np.asarray((self.weights.astype(flat.dtype) @ flat).reshape(-1, *values.shape[1:]))

    def estimate(
        self,
        values: Float[np.ndarray, "n ..."],
        statistic: Callable[[Float[np.ndarray, "rows ..."]], Float[np.ndarray, "rows"]],
    ) -> Estimate:
        """Return a statistic of the mean over volumes, with its 95 % percentile interval.

        Distances cannot be negative, so that draws lie further from the aim than the set itself; the interval is widened
        to hold the value.

        Parameters
        ----------
        statistic : one number from each row of means; NaN where it is not defined.
        """
        found = statistic(self.means(values))
        value, drawn = float(found[0]), found[1:][np.isfinite(found[1:])]
        if not np.isfinite(value):
            return Estimate()
        if len(drawn) < (len(found) - 1) / 2:
            return Estimate(value)
        low, high = np.percentile(drawn, [2.5, 97.5])
        return Estimate(value, (min(float(low), value), max(float(high), value)))


def band(rows: Float[np.ndarray, "rows bins"]) -> tuple[Float[np.ndarray, "bins"], Float[np.ndarray, "bins"]]:
    """Return the 95 % interval of a mean curve, bin by bin, from its draws (row 0, the curve itself, is left out)."""
    low, high = np.percentile(rows[1:], [2.5, 97.5], axis=0)
    return low, high
