"""How near the sets of an evaluation lie to the training boxes: the searches, and distances as ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int64

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.matching import Matches, nearest_boxes
from frazil.evaluation.volumes import Sets, VolumeSet

LEAST = 5
"""Volumes that a statement about a set, or a class, takes."""

SAME_VOXELS = 1e-3
"""Below this distance two boxes hold the same voxels: rounding makes 1e-6, another particle never less than 0.1."""

_HELD_OUT_AT_MOST = 600
_NOISE_AT_MOST = 50  # noise is noise

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Nearest:
    """The training boxes nearest to the volumes of a set.

    Parameters
    ----------
    labels : `(n,)` classes of the volumes.
    box : row of the nearest training box.
    distance, second : to the nearest training box, and to the next; NaN where there is none.
    matches : all that was found.
    """

    labels: np.ndarray
    box: Int64[np.ndarray, "n"]
    distance: Float[np.ndarray, "n"]
    second: Float[np.ndarray, "n"]
    matches: Matches

    @classmethod
    def of(cls, labels: np.ndarray, matches: Matches, *, above: float = -np.inf) -> Nearest:
        """Take the nearest boxes that lie further away than `above`; volumes without one have box -1."""
        width = matches.box.shape[1]
        first = (matches.distance <= above).sum(axis=1)  # sorted, NaN last

        def column(values: np.ndarray, place: np.ndarray, nothing: float) -> np.ndarray:
            padded = np.column_stack([values, np.full(len(values), nothing)])
            return np.asarray(padded[np.arange(len(values)), np.minimum(place, width)])

        box = column(matches.box, first, -1).astype(np.int64)
        distance, second = (column(matches.distance, place, np.nan) for place in (first, first + 1))
        return cls(labels, box, distance, second, matches)


@dataclass(frozen=True)
class Nearness:
    """What `measure_nearness` found.

    Parameters
    ----------
    generated, held_out, noise : against all training boxes.
    training : training boxes in the numbers of the generated set, each against the others.
    to_other : `(m,)` distance of a training box to the nearest other that does not hold the same voxels; NaN where it was not
        needed or there is none.
    doubled : `(m,)` training boxes, of those that were searched for, that hold the same voxels as another.
    searched : how many training boxes were searched for.
    """

    generated: Nearest
    held_out: Nearest
    training: Nearest
    noise: Nearest
    to_other: Float[np.ndarray, "m"]
    doubled: Bool[np.ndarray, "m"]
    searched: int

    def authentic(self, nearest: Nearest) -> Float[np.ndarray, "n"]:
        """Say which volumes are authentic: further from their nearest training box than it is from its own nearest.

        Alaa et al. 2022, section 3.3. 1 or 0; NaN where the training box has no other.
        """
        other = self.to_other[nearest.box]
        return np.where(np.isnan(other), np.nan, nearest.distance > other)


@dataclass(frozen=True)
class Reference:
    """Distances of held-out boxes, class by class; all together for a class with fewer than `LEAST`."""

    distances: dict[str, Float[np.ndarray, "m"]]
    pooled: Float[np.ndarray, "m"]

    @classmethod
    def of(cls, held_out: Nearest) -> Reference:
        """Collect the distances of held-out boxes."""
        own = {str(label): held_out.distance[held_out.labels == label] for label in np.unique(held_out.labels)}
        return cls({label: values for label, values in own.items() if len(values) >= LEAST}, held_out.distance)

    def strata(
        self, nearest: Nearest, label: str | None = None, *, pooled: bool = True
    ) -> list[tuple[Float[np.ndarray, "n"], Float[np.ndarray, "m"]]]:
        """Return distances of a set, or of one class of it, each with the held-out distances that they stand beside.

        Parameters
        ----------
        pooled : a class with too few held-out boxes stands beside those of all classes; else it is left out.
        """
        names = nearest.labels.astype(str)
        wanted = np.isfinite(nearest.distance) & ((names == label) if label is not None else True)
        found = [
            (nearest.distance[wanted & (names == name)], self.distances[name])
            for name in sorted(self.distances)
            if (wanted & (names == name)).any()
        ]
        rest = wanted & ~np.isin(names, list(self.distances))
        return [*found, (nearest.distance[rest], self.pooled)] if pooled and rest.any() else found

    def ratios(self, nearest: Nearest) -> Float[np.ndarray, "n"]:
        """Return each distance over the median held-out distance of its class."""
        medians = [float(np.median(self.distances.get(str(label), self.pooled))) for label in nearest.labels]
        # a held-out set that is in the training set has the median 0
        return np.asarray(nearest.distance / np.maximum(medians, SAME_VOXELS))


def measure_nearness(sets: Sets, on_step: Progress | None = None) -> Nearness:
    """Search the training boxes nearest to generated, held-out and other training volumes, and to noise.

    Parameters
    ----------
    sets : at least two training boxes, and one volume in the others.
    on_step : gets the share done.
    """
    training = sets.training
    outside_rows = _some(len(sets.held_out), _HELD_OUT_AT_MOST, sets.seed)
    noisy = sets.generated.subset(_some(len(sets.generated), _NOISE_AT_MOST, sets.seed))
    noise = replace(sets, generated=noisy).noise()
    like = sets.training_rows_like_generated()
    counts = [len(sets.generated), len(outside_rows), len(noise), len(like)]
    steps = _Steps(on_step, sum(counts) + min(len(training) - len(like), counts[0] + counts[1]))

    def against_training(of: VolumeSet, rows: np.ndarray) -> Nearest:
        found = nearest_boxes(of.volumes, training.volumes, rows=rows, on_step=steps.of(len(rows)))
        return Nearest.of(of.labels[rows], found)

    def among_training(rows: np.ndarray) -> Nearest:
        found = nearest_boxes(training.volumes, training.volumes, rows=rows, own=rows, on_step=steps.of(len(rows)))
        return Nearest.of(training.labels[rows], found, above=SAME_VOXELS)

    generated = against_training(sets.generated, np.arange(len(sets.generated)))
    outside = against_training(sets.held_out, outside_rows)
    blank = against_training(noise, np.arange(len(noise)))
    alike = among_training(like)
    # quadratic if it were all training boxes: only those that are somebody's nearest
    needed = np.setdiff1d(np.concatenate([generated.box, outside.box, blank.box]), like)
    others = among_training(needed)
    to_other, doubled = np.full(len(training), np.nan), np.zeros(len(training), dtype=bool)
    for rows, found in ((like, alike), (needed, others)):
        to_other[rows], doubled[rows] = found.distance, found.matches.distance[:, 0] <= SAME_VOXELS
    if on_step is not None:
        on_step(1.0)
    return Nearness(generated, outside, alike, blank, to_other, doubled, len(like) + len(needed))


class _Steps:
    """The share done of several searches, each as long as it has volumes."""

    def __init__(self, on_step: Progress | None, total: int) -> None:
        self._on_step = on_step
        self._total = total
        self._begun = 0

    def of(self, count: int) -> Progress:
        """Return what the next search tells its own share to."""
        before, self._begun = self._begun, self._begun + count

        def tell(share: float) -> None:
            if self._on_step is not None:
                self._on_step(min(1.0, (before + share * count) / self._total))

        return tell


def _some(count: int, most: int, seed: int) -> Int64[np.ndarray, "n"]:
    """Return all rows, or as many as are allowed, drawn at random."""
    return np.sort(numpy_generator(seed, "memorisation subset", count).permutation(count)[:most])


def medians(
    strata: Sequence[tuple[np.ndarray, np.ndarray]], random: np.random.Generator, *, replicates: int = 1000
) -> Float[np.ndarray, "rows"]:
    """Return the median ratio of values to the median reference of their stratum: as they are, then of numbers drawn anew."""
    columns = []
    for values, reference in strata:
        drawn, beside = (
            np.vstack([side, side[random.integers(len(side), size=(replicates, len(side)))]])
            for side in (values, reference)
        )
        columns.append(drawn / np.maximum(np.median(beside, axis=1, keepdims=True), SAME_VOXELS))
    return np.asarray(np.median(np.concatenate(columns, axis=1), axis=1))
