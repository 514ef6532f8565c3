"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) of a set of features."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist

from frazil.evaluation.metrics.bootstrap import percentile_interval, times_drawn
from frazil.evaluation.scores import Interval

NEIGHBORS = 5
"""k of Naeem et al. section 4.2; also taken for precision and recall, so that all four use the same balls."""


@dataclass(frozen=True)
class Neighborhoods:
    """How two sets lie in each other's nearest-neighbor balls. The four numbers are the means of the four arrays.

    A sample's ball reaches to its k-th nearest neighbor in its own set, without its surface.

    Parameters
    ----------
    precision : `(m,)` whether each generated sample lies in the ball of a real one.
    recall : `(n,)` whether each real sample lies in the ball of a generated one.
    density : `(m,)` in how many balls of real samples each generated one lies, over k.
    coverage : `(n,)` whether the ball of each real sample holds a generated one.
    """

    precision: Bool[np.ndarray, "m"]
    recall: Bool[np.ndarray, "n"]
    density: Float[np.ndarray, "m"]
    coverage: Bool[np.ndarray, "n"]

    def means(self) -> dict[str, float]:
        """Return the four numbers by name."""
        return {entry.name: float(getattr(self, entry.name).mean()) for entry in fields(self)}

    def intervals(self, random: np.random.Generator) -> dict[str, Interval]:
        """Return 95 % percentile bootstrap intervals over the samples that each mean is over; the balls stay as they are."""
        found = {}
        for entry in fields(self):
            values = getattr(self, entry.name).astype(np.float64)
            found[entry.name] = percentile_interval(times_drawn(len(values), random) @ values / len(values))
        return found


def neighborhoods(
    real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], *, k: int = NEIGHBORS
) -> Neighborhoods:
    """Return how two sets of features, of more than k samples each, lie in each other's balls."""
    # Differences, not the faster scalar products: equal samples must be at distance 0 for their balls' surfaces to agree.
    between = cdist(real.astype(np.float64), generated.astype(np.float64))
    in_real = between < kth_distances(real, k=k)[:, None]
    in_generated = between < kth_distances(generated, k=k)
    return Neighborhoods(
        precision=np.any(in_real, axis=0),
        recall=np.any(in_generated, axis=1),
        density=in_real.sum(axis=0) / k,
        coverage=np.any(in_real, axis=1),
    )


def kth_distances(
    features: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"] | None = None, *, k: int = NEIGHBORS
) -> Float[np.ndarray, "n"]:
    """Return the distance of each row to its k-th nearest of `references`; without them, of the other rows."""
    among, place = (features, k) if references is None else (references, k - 1)  # a row is its own nearest
    distances = cdist(features.astype(np.float64), among.astype(np.float64))
    return np.asarray(np.partition(distances, place, axis=1)[:, place])
