"""The score of the CZII CryoET Object Identification challenge: F-beta of picks against references, beta = 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

BETA = 4.0
"""Recall counts sixteen times as much as precision: a missed particle is lost, a false one is sorted out later."""

CZII_WEIGHTS = {
    "apo-ferritin": 1.0, "beta-amylase": 0.0, "beta-galactosidase": 2.0, "ribosome": 1.0, "thyroglobulin": 2.0, "virus-like-particle": 1.0,
}  # fmt: skip
"""Of the classes in the challenge: hard ones count twice, and nobody finds beta-amylase."""

MATCH_RADIUS = 0.5
"""A pick is right if it lies within this share of the particle's radius of a reference of its class."""


@dataclass(frozen=True)
class Counts:
    """Right picks, false picks and missed references; counts of several runs are added."""

    right: int = 0
    false: int = 0
    missed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.right + other.right, self.false + other.false, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Share of the picks that are right; 0 if there is none."""
        return self.right / max(1, self.right + self.false)

    @property
    def recall(self) -> float:
        """Share of the references that were found; 0 if there is none."""
        return self.right / max(1, self.right + self.missed)

    def f_score(self, beta: float = BETA) -> float:
        """Return ``(1 + beta^2) P R / (beta^2 P + R)``; 0 if nothing is right."""
        weighted = (1 + beta**2) * self.right
        return weighted / max(1, weighted + beta**2 * self.missed + self.false)


def match(
    found_angstrom: Float[np.ndarray, "n 3"], reference_angstrom: Float[np.ndarray, "m 3"], radius_angstrom: float
) -> Counts:
    """Count the picks of one class in one run: each belongs to at most one reference, within half of `radius_angstrom`, and vice versa."""
    partner = partners(found_angstrom, reference_angstrom, radius_angstrom)
    right = int((partner >= 0).sum())
    return Counts(right, len(found_angstrom) - right, len(reference_angstrom) - right)


def partners(
    found_angstrom: Float[np.ndarray, "n 3"], reference_angstrom: Float[np.ndarray, "m 3"], radius_angstrom: float
) -> Int64[np.ndarray, "n"]:
    """Return the reference of each pick, -1 for a false one; as many as possible have one (Hopcroft & Karp 1973)."""
    if not len(found_angstrom) or not len(reference_angstrom):
        return np.full(len(found_angstrom), -1, dtype=np.int64)
    near = KDTree(found_angstrom).sparse_distance_matrix(
        KDTree(reference_angstrom), MATCH_RADIUS * radius_angstrom, output_type="coo_matrix"
    )
    near.data[:] = 1  # a distance of 0 would be no entry
    return np.asarray(maximum_bipartite_matching(near.tocsr(), perm_type="column"), dtype=np.int64)


def weighted_score(counts: Mapping[str, Counts], weights: Mapping[str, float], beta: float = BETA) -> float:
    """Return the mean of the F-scores of the classes, weighted; classes of weight 0 do not count."""
    total = sum(weights.get(label, 1.0) for label in counts)
    return sum(weights.get(label, 1.0) * counts[label].f_score(beta) for label in counts) / total


def best_threshold(
    scores: Sequence[tuple[float, bool]], references: int, beta: float = BETA, *, slack: float = 0.0
) -> float:
    """Return the lowest score of a pick that is kept, such that F-beta is highest; infinite if no pick is right.

    With `slack`, the lowest with which F-beta is at most this share below its highest.

    It lies in the middle between the last pick that is kept and the first that is not. `scores` has the score of each pick and
    whether it is right, if each reference is found at most once.
    """
    ordered = sorted(scores, reverse=True)
    found, right = [], 0
    for number, (score, is_right) in enumerate(ordered, start=1):
        right += is_right
        following = ordered[number][0] if number < len(ordered) else score
        if following < score or number == len(ordered):
            f_score = Counts(right, number - right, references - right).f_score(beta)
            found.append((f_score, (score + following) / 2))
    enough = (1 - slack) * max((f_score for f_score, _ in found), default=0.0)
    return min((threshold for f_score, threshold in found if f_score >= enough > 0), default=float("inf"))
