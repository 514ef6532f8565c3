"""Is one set of numbers smaller than another, class by class? A rank test that needs no shape of the distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from jaxtyping import Float

from frazil.evaluation.scores import Interval

_REPLICATES = 1000


@dataclass(frozen=True)
class RankTest:
    """Whether values are smaller than reference values of their own stratum.

    Parameters
    ----------
    p : one-sided: the chance of ranks so low if both came from one distribution.
    chance : that a value is smaller than a reference value, a tie counting half; 0.5 without a difference.
    interval : 95 % bootstrap interval of the chance, over values and references.
    """

    p: float
    chance: float
    interval: Interval


Stratum = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "m"]]


def stratified_rank_test(strata: Sequence[Stratum], random: np.random.Generator) -> RankTest:
    """Test (values, reference values) of each stratum by Mann-Whitney's U and join them by van Elteren's weights.

    The statistic is the sum of ``U / (n + m + 1)`` (van Elteren 1960), with its normal distribution under no difference; for
    one stratum it is the Mann-Whitney test. Classes that are unlike each other then cannot pass for a difference.

    Parameters
    ----------
    strata : neither side of any is empty.
    random : draws the bootstrap.
    """
    total, expected, variance = 0.0, 0.0, 0.0
    chances = []
    sizes = [len(values) for values, _ in strata]
    for values, reference in strata:
        n, m = len(values), len(reference)
        smaller = float(scipy.stats.mannwhitneyu(reference, values, method="asymptotic").statistic)
        weight = 1 / (n + m + 1)
        total += weight * smaller
        expected += weight * n * m / 2
        variance += weight**2 * n * m * (n + m + 1) / 12
        chances.append(_chances(values, reference, random))
    drawn = np.average(chances, axis=0, weights=sizes)
    low, high = np.percentile(drawn[1:], [2.5, 97.5])
    p = float(scipy.stats.norm.sf((total - expected) / np.sqrt(variance)))
    return RankTest(p, float(drawn[0]), (float(low), float(high)))


def _chances(
    values: Float[np.ndarray, "n"], reference: Float[np.ndarray, "m"], random: np.random.Generator
) -> Float[np.ndarray, "rows"]:
    """Return the chance of a smaller value: of the numbers as they are, then of numbers drawn from them."""
    smaller = (values[:, None] < reference) + 0.5 * (values[:, None] == reference)
    rows, columns = (random.multinomial(size, np.full(size, 1 / size), _REPLICATES) / size for size in smaller.shape)
    return np.append(smaller.mean(), ((rows @ smaller) * columns).sum(axis=1))
