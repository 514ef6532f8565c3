"""The Frechet distance of two sets of features (Heusel et al. 2017), between Gaussians fitted to them."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float

from frazil.core.errors import ShapeError
from frazil.evaluation.scores import Interval


def frechet_distance(one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]) -> float:
    """Return ``|mean1 - mean2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of the sets' means and unbiased covariances.

    Biased upwards by an amount that grows with d and falls with the counts: compare equal numbers, with many more samples
    than dimensions.

    Raises
    ------
    ShapeError : features of different dimension, or fewer than two samples.
    """
    if one.shape[1:] != other.shape[1:] or min(len(one), len(other)) < 2:
        raise ShapeError(
            f"no Frechet distance between features of shape {one.shape} and {other.shape}; "
            "give two or more samples each, of one dimension"
        )
    return gaussian_distance(*_moments(one), *_moments(other))


def gaussian_distance(
    mean: Float[np.ndarray, "d"],
    covariance: Float[np.ndarray, "d d"],
    other_mean: Float[np.ndarray, "d"],
    other_covariance: Float[np.ndarray, "d d"],
) -> float:
    """Return the squared Frechet (2-Wasserstein) distance of two Gaussians (Dowson & Landau 1982), in float64.

    ``tr (C1 C2)^(1/2)`` is taken as the sum of singular values of ``C1^(1/2) C2^(1/2)``: symmetric roots stay real and exact
    where a covariance is singular, and equal covariances give 0 to rounding, which a root of the product does not.
    """
    roots = _symmetric_root(covariance) @ _symmetric_root(other_covariance)
    shared = scipy.linalg.svdvals(roots).sum()
    distance = np.square(mean - other_mean).sum() + np.trace(covariance) + np.trace(other_covariance) - 2 * shared
    return max(float(distance), 0.0)


def frechet_interval(
    one: Float[np.ndarray, "n d"],
    other: Float[np.ndarray, "m d"],
    random: np.random.Generator,
    *,
    resamples: int = 200,
) -> Interval:
    """Return the 95 % bootstrap interval of `frechet_distance` over the samples of both sets.

    A resampled set holds fewer different samples, which lifts the distance: the bootstrap's spread is kept, its lift is taken off.
    """
    value = frechet_distance(one, other)
    drawn = np.array(
        [
            frechet_distance(
                one[random.integers(len(one), size=len(one))], other[random.integers(len(other), size=len(other))]
            )
            for _ in range(resamples)
        ]
    )
    low, high = value + np.quantile(drawn, (0.025, 0.975)) - drawn.mean()
    return max(float(low), 0.0), float(high)


def _moments(features: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]]:
    values = features.astype(np.float64)
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def _symmetric_root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    power, axes = scipy.linalg.eigh(covariance)
    return np.asarray((axes * np.sqrt(power.clip(min=0))) @ axes.T)
