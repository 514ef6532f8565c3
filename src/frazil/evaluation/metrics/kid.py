"""Kernel distance of two sets of features (KID, Binkowski et al. 2018): unbiased, so it fits few samples."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from sklearn.metrics.pairwise import polynomial_kernel

from frazil.core.errors import ShapeError
from frazil.evaluation.scores import Interval


def kernel_distance(one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]) -> float:
    """Return the unbiased estimate (U-statistic) of the squared maximum mean discrepancy, kernel ``(x y / d + 1)^3``.

    0 on average for two sets of one distribution, so it can be negative.

    Raises
    ------
    ShapeError : features of different dimension, or fewer than two samples.
    """
    kernels = _kernels(one, other)
    n, m = len(one), len(other)
    return float(_weighted(kernels, np.ones((1, n)), np.ones((1, m)))[0])


def kernel_interval(
    one: Float[np.ndarray, "n d"],
    other: Float[np.ndarray, "m d"],
    random: np.random.Generator,
    *,
    resamples: int = 1000,
) -> Interval:
    """Return the 95 % percentile bootstrap interval of `kernel_distance` over the samples of both sets.

    A sample drawn twice makes no pair with itself, so that the bootstrap stays unbiased.
    """
    kernels = _kernels(one, other)
    n, m = len(one), len(other)
    drawn = _weighted(
        kernels,
        random.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64),
        random.multinomial(m, np.full(m, 1 / m), size=resamples).astype(np.float64),
    )
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _kernels(
    one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if one.shape[1:] != other.shape[1:] or min(len(one), len(other)) < 2:
        raise ShapeError(
            f"no kernel distance between features of shape {one.shape} and {other.shape}; "
            "give two or more samples each, of one dimension"
        )
    x, y = one.astype(np.float64), other.astype(np.float64)
    within, across, other_within = (
        polynomial_kernel(a, b, degree=3, gamma=None, coef0=1) for a, b in ((x, x), (x, y), (y, y))
    )
    return within, across, other_within


def _weighted(
    kernels: tuple[np.ndarray, np.ndarray, np.ndarray],
    weights: Float[np.ndarray, "r n"],
    other_weights: Float[np.ndarray, "r m"],
) -> Float[np.ndarray, "r"]:
    """Return the U-statistic for each row of weights (how often each sample counts)."""
    within, across, other_within = kernels
    between = ((weights @ across) * other_weights).sum(axis=1) / (weights.sum(axis=1) * other_weights.sum(axis=1))
    return np.asarray(_pair_mean(within, weights) + _pair_mean(other_within, other_weights) - 2 * between)


def _pair_mean(kernel: np.ndarray, weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "r"]:
    kernel = kernel - np.diag(np.diag(kernel))
    pairs = np.square(weights.sum(axis=1)) - np.square(weights).sum(axis=1)
    sums = ((weights @ kernel) * weights).sum(axis=1)
    # among few samples, a draw of one alone makes no pair
    return np.asarray(np.divide(sums, pairs, out=np.full(len(sums), np.nan), where=pairs > 0))
