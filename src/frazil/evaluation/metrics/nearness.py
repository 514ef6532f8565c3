"""How near the sets of an evaluation lie to the training boxes: the searches, and distances compared with held-out boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int64

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.bootstrap import drawn_again, percentile_interval, times_drawn
from frazil.evaluation.metrics.matching import Matches, nearest_boxes
from frazil.evaluation.metrics.metric import MINIMUM, Estimate, Role
from frazil.evaluation.volumes import Sets, VolumeSet

SAME_VOXELS = 1e-3
"""Below this distance two boxes hold the same voxels: rounding makes 1e-6, another particle never less than 0.1."""

COPY = 0.5
"""A copy is less than half as far away as a held-out box of its class, and less than half as far as the next training box; of a box
with a twin the next says nothing."""

_HELD_OUT_AT_MOST = 600
_NOISE_AT_MOST = 50  # noise is noise

Stratum = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "m"]]
"""Distances of one class, and the held-out distances that they are compared with."""


@dataclass(frozen=True)
class Nearest:
    """The training boxes nearest to the volumes of a set.

    Parameters
    ----------
    box : row of the nearest training box; -1 where there is none.
    distance, second : to the nearest training box, and to the next; NaN where there is none.
    """

    labels: np.ndarray
    box: Int64[np.ndarray, "n"]
    distance: Float[np.ndarray, "n"]
    second: Float[np.ndarray, "n"]
    matches: Matches

    @classmethod
    def of(cls, labels: np.ndarray, matches: Matches, *, above: float = -np.inf) -> Nearest:
        """Take the nearest boxes that lie further away than `above`."""
        row, width = np.arange(len(matches.box)), matches.box.shape[1]
        first = (matches.distance <= above).sum(axis=1)  # sorted, NaN last
        box = np.pad(matches.box, ((0, 0), (0, 1)), constant_values=-1)
        distance = np.pad(matches.distance, ((0, 0), (0, 2)), constant_values=np.nan)
        return cls(labels, box[row, np.minimum(first, width)], distance[row, first], distance[row, first + 1], matches)


@dataclass(frozen=True)
class Nearness:
    """How near each set lies to the training boxes.

    Parameters
    ----------
    by_role : generated and held-out volumes and noise, against all training boxes; ``real``, training boxes in the numbers of
        the generated set, each against the others.
    to_other : `(m,)` distance of a training box to the nearest other that does not hold the same voxels; NaN where it was not
        needed or there is none.
    doubled : `(m,)` training boxes, of those that were searched for, that hold the same voxels as another.
    searched : how many training boxes were searched for.
    mirrored : generated volumes, mirrored, against all training boxes.
    among : generated volumes, each against the others.
    """

    by_role: dict[Role, Nearest]
    to_other: Float[np.ndarray, "m"]
    doubled: Bool[np.ndarray, "m"]
    searched: int
    mirrored: Nearest
    among: Nearest

    @cached_property
    def reference(self) -> dict[str, Float[np.ndarray, "m"]]:
        """Distances of held-out boxes by class, of classes with `MINIMUM` or more."""
        held_out = self.by_role["held-out"]
        labels, counts = np.unique(held_out.labels, return_counts=True)
        return {str(label): held_out.distance[held_out.labels == label] for label in labels[counts >= MINIMUM]}

    def strata(self, nearest: Nearest, label: str | None = None, *, pooled: bool = True) -> list[Stratum]:
        """Return distances of a set, or of one class of it, class by class, with the held-out distances of the class.

        A class with too few held-out boxes is compared with those of all classes if `pooled`, else left out.
        """
        names = nearest.labels.astype(str)
        wanted = np.isfinite(nearest.distance) & ((names == label) if label is not None else True)
        found = [
            (nearest.distance[wanted & (names == name)], self.reference[name])
            for name in sorted(self.reference)
            if (wanted & (names == name)).any()
        ]
        rest = wanted & ~np.isin(names, list(self.reference))
        return [*found, (nearest.distance[rest], self.by_role["held-out"].distance)] if pooled and rest.any() else found

    def ratios(self, nearest: Nearest) -> Float[np.ndarray, "n"]:
        """Return each distance over the median held-out distance of its class, or of all if it has too few."""
        everything = self.by_role["held-out"].distance
        medians = [float(np.median(self.reference.get(str(of), everything))) for of in nearest.labels]
        # a held-out set that is in the training set has the median 0
        return np.asarray(nearest.distance / np.maximum(medians, SAME_VOXELS))

    def to_second(self, nearest: Nearest) -> Float[np.ndarray, "n"]:
        """Return the distance to the nearest box over that to the second; two that are both the same are no copy of one."""
        ratio = nearest.distance / np.maximum(nearest.second, SAME_VOXELS)
        return np.where(nearest.second > SAME_VOXELS, ratio, 1.0)

    def authentic(self, nearest: Nearest) -> Float[np.ndarray, "n"]:
        """Return 1 for authentic volumes: further from their nearest training box than it is from its own nearest; else 0.

        Alaa et al. 2022, section 3.3. NaN where the training box has no other.
        """
        other = self.to_other[nearest.box]
        return np.where(np.isnan(other), np.nan, nearest.distance > other)

    def doubles(self, nearest: Nearest) -> Float[np.ndarray, "n"]:
        """Return 1 for volumes with another of their set less than half as far away as held-out boxes are from training boxes.

        NaN where there is no other.
        """
        return np.where(np.isnan(nearest.distance), np.nan, self.ratios(nearest) < COPY)

    def copies(self, nearest: Nearest) -> Bool[np.ndarray, "n"]:
        """Return which volumes copy one training box. The second nearest of a copy is the twin, if the box has one."""
        ratios = self.ratios(nearest)
        with np.errstate(divide="ignore", invalid="ignore"):
            to_twin = self.to_other[nearest.box] * ratios / nearest.distance  # in the same units: medians of the class
        alone = (self.to_second(nearest) < COPY) | (nearest.distance <= SAME_VOXELS)
        twin = self.doubled[nearest.box] | (to_twin < COPY)
        return np.asarray((ratios < COPY) & (alone | twin))


def measure_nearness(sets: Sets, on_volumes: Callable[[float], None]) -> Nearness:
    """Search the training boxes, two at least, nearest to generated, held-out and other training volumes, and to noise.

    `on_volumes` is called with the number of volumes just searched for, out of `volumes_to_search`.
    """
    training = sets.training
    noisy = sets.generated.subset(_some(len(sets.generated), _NOISE_AT_MOST, sets.seed))
    noise = replace(sets, generated=noisy).noise()
    like = sets.training_rows_like_generated()

    def search(of: VolumeSet, rows: np.ndarray, *, among_others: bool = False) -> Nearest:
        own = rows if among_others else None
        found = nearest_boxes(of.volumes, training.volumes, rows=rows, own=own, on_volumes=on_volumes)
        return Nearest.of(of.labels[rows], found, above=SAME_VOXELS if among_others else -np.inf)

    mirrored = replace(
        sets.generated, volumes=np.roll(sets.generated.volumes[..., ::-1], 1, axis=-1)
    )  # about voxel D/2
    everything = np.arange(len(sets.generated))
    among = nearest_boxes(sets.generated.volumes, sets.generated.volumes, own=everything, on_volumes=on_volumes)
    by_role: dict[Role, Nearest] = {
        "generated": search(sets.generated, everything),
        "held-out": search(sets.held_out, _some(len(sets.held_out), _HELD_OUT_AT_MOST, sets.seed)),
        "noise": search(noise, np.arange(len(noise))),
    }
    in_mirror = search(mirrored, everything)
    # quadratic if it were all training boxes: only those that are the nearest of something
    needed = np.setdiff1d(np.concatenate([found.box for found in (*by_role.values(), in_mirror)]), like)
    by_role["real"] = search(training, like, among_others=True)
    to_other, doubled = np.full(len(training), np.nan), np.zeros(len(training), dtype=bool)
    for rows, found in ((like, by_role["real"]), (needed, search(training, needed, among_others=True))):
        to_other[rows], doubled[rows] = found.distance, found.matches.distance[:, 0] <= SAME_VOXELS
    return Nearness(
        by_role,
        to_other,
        doubled,
        len(like) + len(needed),
        mirrored=in_mirror,
        among=Nearest.of(sets.generated.labels, among),
    )


def volumes_to_search(sets: Sets) -> int:
    """Return how many volumes `measure_nearness` reports in all, at most."""
    generated, held_out = len(sets.generated), min(len(sets.held_out), _HELD_OUT_AT_MOST)
    return 3 * generated + held_out + min(generated, _NOISE_AT_MOST) + min(len(sets.training), 3 * generated + held_out)


def median_ratio(strata: Sequence[Stratum], random: np.random.Generator) -> Estimate:
    """Return the median ratio of values to the median reference of their stratum; bootstrap over both."""
    columns = []
    for values, reference in strata:
        drawn, beside = (np.vstack([side, drawn_again(side, random)]) for side in (values, reference))
        columns.append(drawn / np.maximum(np.median(beside, axis=1, keepdims=True), SAME_VOXELS))
    medians = np.median(np.concatenate(columns, axis=1), axis=1)
    return Estimate(float(medians[0]), percentile_interval(medians[1:]))


def rank_test(strata: Sequence[Stratum], random: np.random.Generator) -> tuple[float, Estimate]:
    """Test whether values are smaller than reference values, by Mann-Whitney's U joined over strata with van Elteren's weights.

    The statistic is the sum of ``U / (n + m + 1)`` (van Elteren 1960), with its normal distribution under no difference; for
    one stratum it is the Mann-Whitney test. Differences between classes then cannot pass for one between sets.

    Returns
    -------
    p, one-sided: the chance of ranks so low if both came from one distribution; and the chance that a value is smaller than a
    reference value, a tie counting half, 0.5 without a difference.
    """
    total, expected, variance = 0.0, 0.0, 0.0
    chances = []
    for values, reference in strata:
        n, m = len(values), len(reference)
        weight = 1 / (n + m + 1)
        total += weight * float(scipy.stats.mannwhitneyu(reference, values, method="asymptotic").statistic)
        expected += weight * n * m / 2
        variance += weight**2 * n * m * (n + m + 1) / 12
        smaller = (values[:, None] < reference) + 0.5 * (values[:, None] == reference)
        rows, columns = (times_drawn(count, random) / count for count in smaller.shape)
        chances.append(np.append(smaller.mean(), ((rows @ smaller) * columns).sum(axis=1)))
    drawn = np.average(chances, axis=0, weights=[len(values) for values, _ in strata])
    p = float(scipy.stats.norm.sf((total - expected) / np.sqrt(variance)))
    return p, Estimate(float(drawn[0]), percentile_interval(drawn[1:]))


def _some(count: int, most: int, seed: int) -> Int64[np.ndarray, "n"]:
    """Return all rows, or as many as are allowed, drawn at random."""
    return np.sort(numpy_generator(seed, "memorisation subset", count).permutation(count)[:most])
