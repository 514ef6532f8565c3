"""Distances between two sets of features: Fréchet (Heusel et al. 2017), kernel (KID, Bińkowski et al. 2018), and by neighbors: precision
and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel

from frazil.evaluation.metrics.bootstrap import REPLICATES, percentile_interval, times_drawn, unbiased_interval
from frazil.evaluation.scores import Interval

NEIGHBORS = 5
"""k of Naeem et al. section 4.2; also taken for precision and recall, so that all four use the same balls."""


def frechet_distance(one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]) -> float:
    """Return ``|mean1 - mean2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of the sets' means and unbiased covariances.

    Biased upwards by an amount that grows with d and falls with the counts: compare equal numbers, with many more samples
    than dimensions.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    covariance, other_covariance = (np.atleast_2d(np.cov(side, rowvar=False)) for side in (one, other))
    # tr (C1 C2)^(1/2) is the sum of the singular values of C1^(1/2) C2^(1/2): symmetric roots stay real and exact where a
    # covariance is singular, and equal covariances give 0 to rounding, which a root of the product does not
    roots = _symmetric_root(covariance) @ _symmetric_root(other_covariance)
    shared = scipy.linalg.svdvals(roots).sum()
    means = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    return max(float(means + np.trace(covariance) + np.trace(other_covariance) - 2 * shared), 0.0)


def frechet_interval(
    one: Float[np.ndarray, "n d"],
    other: Float[np.ndarray, "m d"],
    random: np.random.Generator,
    *,
    replicates: int = 200,
) -> Interval:
    """Return the 95 % bootstrap interval of `frechet_distance` over the samples of both sets."""
    drawn = []
    for _ in range(replicates):
        rows, other_rows = (random.integers(len(side), size=len(side)) for side in (one, other))
        drawn.append(frechet_distance(one[rows], other[other_rows]))
    low, high = unbiased_interval(frechet_distance(one, other), np.array(drawn))
    return max(low, 0.0), high


def kernel_distance(one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]) -> float:
    """Return the unbiased estimate (U-statistic) of the squared maximum mean discrepancy, kernel ``(x y / d + 1)^3``.

    0 on average for two sets of one distribution, so it can be negative.
    """
    return float(_kernel_distances(one, other, np.ones((1, len(one))), np.ones((1, len(other))))[0])


def kernel_interval(
    one: Float[np.ndarray, "n d"],
    other: Float[np.ndarray, "m d"],
    random: np.random.Generator,
    *,
    replicates: int = REPLICATES,
) -> Interval:
    """Return the 95 % percentile bootstrap interval of `kernel_distance` over the samples of both sets.

    A sample drawn twice makes no pair with itself, so the bootstrap stays unbiased.
    """
    weights, other_weights = (times_drawn(len(side), random, replicates).astype(np.float64) for side in (one, other))
    return percentile_interval(_kernel_distances(one, other, weights, other_weights))


def _symmetric_root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    power, axes = scipy.linalg.eigh(covariance)
    return np.asarray((axes * np.sqrt(power.clip(min=0))) @ axes.T)


def _kernel_distances(
    one: Float[np.ndarray, "n d"],
    other: Float[np.ndarray, "m d"],
    weights: Float[np.ndarray, "r n"],
    other_weights: Float[np.ndarray, "r m"],
) -> Float[np.ndarray, "r"]:
    """Return the kernel distance for each row of weights (how often each sample counts)."""
    x, y = one.astype(np.float64), other.astype(np.float64)
    within, across, other_within = (polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((x, x), (x, y), (y, y)))
    between = ((weights @ across) * other_weights).sum(axis=1) / (weights.sum(axis=1) * other_weights.sum(axis=1))
    return np.asarray(_pair_mean(within, weights) + _pair_mean(other_within, other_weights) - 2 * between)


def _pair_mean(kernel: np.ndarray, weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r"]:
    kernel = kernel - np.diag(np.diag(kernel))
    pairs = np.square(weights.sum(axis=1)) - np.square(weights).sum(axis=1)
    sums = ((weights @ kernel) * weights).sum(axis=1)
    # among few samples, a draw of one alone makes no pair
    return np.asarray(np.divide(sums, pairs, out=np.full(len(sums), np.nan), where=pairs > 0))


def neighborhoods(
    real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], *, k: int = NEIGHBORS
) -> dict[str, Float[np.ndarray, "samples"]]:
    """Return how two sets, of more than k samples each, lie in each other's balls. The four numbers are the means of the arrays.

    A sample's ball reaches to its k-th nearest neighbor in its own set, without its surface.

    Returns
    -------
    ``precision``: `(m,)` whether each generated sample lies in the ball of a real one. ``recall``: `(n,)` whether each real
    sample lies in the ball of a generated one. ``density``: `(m,)` in how many balls of real samples each generated one lies,
    over k. ``coverage``: `(n,)` whether the ball of each real sample holds a generated one.
    """
    # Differences, not the faster scalar products: equal samples must be at distance 0 for their balls' surfaces to agree.
    between = cdist(real.astype(np.float64), generated.astype(np.float64))
    in_real = between < kth_distances(real, k=k)[:, None]
    in_generated = between < kth_distances(generated, k=k)
    found = {
        "precision": in_real.any(axis=0),
        "recall": in_generated.any(axis=1),
        "density": in_real.sum(axis=0) / k,
        "coverage": in_real.any(axis=1),
    }
    return {name: values.astype(np.float64) for name, values in found.items()}


def mean_interval(values: Float[np.ndarray, "samples"], random: np.random.Generator) -> Interval:
    """Return the 95 % percentile bootstrap interval of a mean over samples; the balls stay as they are."""
    return percentile_interval(times_drawn(len(values), random) @ values / len(values))


def kth_distances(
    features: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"] | None = None, *, k: int = NEIGHBORS
) -> Float[np.ndarray, "n"]:
    """Return the distance of each row to its k-th nearest of `references`; without them, of the other rows."""
    among, place = (features, k) if references is None else (references, k - 1)  # a row is its own nearest
    distances = cdist(features.astype(np.float64), among.astype(np.float64))
    return np.asarray(np.partition(distances, place, axis=1)[:, place])
