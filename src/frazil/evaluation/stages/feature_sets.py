"""The sets of an evaluation as features, in one scale that is set by the training boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from frazil.core.errors import ShapeError
from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.embeddings import Embedding
from frazil.evaluation.metrics.metric import Role
from frazil.evaluation.volumes import Sets, VolumeSet

_CHUNK = 16  # volumes between two reports of progress
_MOST_TRAINING = 1000  # boxes that set the scale: more do not change it, and cost time
_LEAST_SPREAD = 0.1  # of the median: a feature that hardly varies in training is not blown up


@dataclass(frozen=True)
class Features:
    """Features of a set of volumes, each of mean 0 and spread 1 over the training boxes, and the class of each volume."""

    values: Float[np.ndarray, "n d"]
    labels: np.ndarray


@dataclass(frozen=True)
class FeatureSets:
    """The sets of an evaluation in one embedding.

    Parameters
    ----------
    by_role : as in a score; ``real`` are training boxes in the numbers of the generated set.
    training : up to 1,000 boxes, drawn at random: they set the scale.
    components : principal axes of `training`, strongest first.
    description : of the embedding; empty where it does not describe itself.
    """

    by_role: dict[Role, Features]
    training: Features
    components: Float[np.ndarray, "c d"]
    description: str


def embed_sets(
    sets: Sets, name: str, embedding: Embedding, on_volumes: Callable[[float], None] = lambda count: None
) -> FeatureSets:
    """Embed every set of an evaluation, a few volumes at a time.

    Sets overlap: wrap the embedding into `Remembered` where it is slow. `on_volumes` is called with the number of volumes
    just done, out of `volumes_to_embed`.
    """

    def embed(of: VolumeSet, what: str, rows: np.ndarray | None = None) -> Features:
        taken = np.arange(len(of)) if rows is None else rows
        parts = []
        for start in range(0, len(taken), _CHUNK):
            chunk = taken[start : start + _CHUNK]
            values = np.asarray(embedding(of.volumes[chunk]), np.float64)
            wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(wrong):
                culprit = of.names[chunk[wrong[0]]]
                raise ShapeError(f"{culprit} ({what}) has {name} features that are not finite; leave this volume out")
            parts.append(values)
            on_volumes(len(chunk))
        return Features(np.concatenate(parts), of.labels[taken])

    random = numpy_generator(sets.seed, "evaluation feature scale")
    raw = embed(sets.training, "training", np.sort(random.permutation(len(sets.training))[:_MOST_TRAINING]))
    mean, spread = raw.values.mean(axis=0), raw.values.std(axis=0)
    spread = np.maximum(spread, _LEAST_SPREAD * np.median(spread))
    spread[spread == 0] = 1

    def scaled(features: Features) -> Features:
        return Features((features.values - mean) / spread, features.labels)

    training = scaled(raw)
    by_role: dict[Role, Features] = {
        "generated": scaled(embed(sets.generated, "generated")),
        "held-out": scaled(embed(sets.held_out, "held-out")),
        "real": scaled(embed(sets.training_like_generated(), "training")),
        "noise": scaled(embed(sets.noise(), "noise")),
    }
    by_role["shuffled"] = Features(by_role["real"].values, sets.shuffled().labels)
    components = np.asarray(PCA(svd_solver="full").fit(training.values).components_)
    return FeatureSets(by_role, training, components, str(getattr(embedding, "description", "")))


def volumes_to_embed(sets: Sets) -> int:
    """Return how many volumes `embed_sets` reports in all, at most."""
    return 3 * len(sets.generated) + len(sets.held_out) + min(len(sets.training), _MOST_TRAINING)


def equal_numbers(
    one: Features, other: Features, label: str | None, *, seed: int
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
    """Return features of two sets with each class (or only `label`) as often as the smaller side has it, drawn at random."""
    chosen: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in sorted({*map(str, one.labels)} & {*map(str, other.labels)}):
        if label in (None, name):
            rows = [np.flatnonzero(side.labels == name) for side in (one, other)]
            for side, own in enumerate(rows):
                # of one class, the first of one order: a smaller draw is part of a larger one
                order = numpy_generator(seed, "equal numbers", name, side).permutation(own)
                chosen[side].append(np.sort(order[: min(map(len, rows))]))
    taken, other_taken = (np.concatenate([np.array([], dtype=np.int64), *rows]) for rows in chosen)
    return one.values[taken], other.values[other_taken]
