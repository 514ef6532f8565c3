"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) of a set of features."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from frazil.evaluation.metrics.bootstrap import percentile_interval, times_drawn
from frazil.evaluation.scores import Interval

NEIGHBORS = 5
"""k of Naeem et al. section 4.2; also taken for precision and recall, so that all four use the same balls."""


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
