"""Distances between generated and real volumes in spaces of features: Frechet, KID, precision, recall, density, coverage.

Every comparison is of equal numbers: of each class as many volumes on both sides as the smaller side has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.frechet import frechet_distance, frechet_interval
from frazil.evaluation.metrics.groups import class_groups, equal_rows
from frazil.evaluation.metrics.kid import kernel_distance, kernel_interval
from frazil.evaluation.metrics.prdc import NEIGHBOURS, kth_distances, neighbourhoods
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Better, Interval, Question, Score, known
from frazil.evaluation.stages.embedded import EmbeddedSets, Features, embed_sets, volumes_to_embed
from frazil.evaluation.stages.material import Material, OnStep, count_steps, ignore
from frazil.evaluation.volumes import Sets

_SAMPLES_PER_DIMENSION = 4  # of the Frechet distance: fewer, and the covariance is mostly chance
_FEW = 50  # below, a value is read with its interval or not at all
_GROUP_COST = 10  # comparing a group takes about as long as embedding so many volumes


@dataclass(frozen=True)
class _Metric:
    name: str
    title: str
    question: Question
    better: Better
    least: int
    note: str


_BALLS = f"Balls reach to the {NEIGHBOURS}-th neighbour. Interval: bootstrap over the samples that it is a mean over."
_METRICS = (
    _Metric("frechet", "Frechet distance", "realistic", "lower", 2 * _SAMPLES_PER_DIMENSION, ""),
    _Metric("kid", "Kernel distance (KID)", "realistic", "lower", 5, "Unbiased; bootstrap over both sets."),
    _Metric("precision", "Precision", "realistic", "higher", 2 * NEIGHBOURS, _BALLS),
    _Metric("recall", "Recall", "varied", "higher", 2 * NEIGHBOURS, _BALLS),
    _Metric("density", "Density", "realistic", "as real", 2 * NEIGHBOURS, _BALLS),
    _Metric("coverage", "Coverage", "varied", "higher", 2 * NEIGHBOURS, _BALLS),
)


def features(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Compare the generated with the held-out volumes in each embedding, all together and class by class.

    Features are brought to mean 0 and spread 1 over the training boxes, so that no unit counts more than another.

    Returns
    -------
    Scores ``<metric>_<embedding>``, and per sample ``typicality``: the distance to the 5th nearest training box over the
    median of that distance of held-out boxes, in the learned embedding or else the handcrafted one. 1 is as near to the
    training boxes as real ones, 2 is twice as far.

    Raises
    ------
    ShapeError : volumes that an embedding cannot take, or features that are no numbers.
    """
    sets, embeddings = material.sets, material.embeddings
    groups = class_groups(sets)
    advance = count_steps(on_step, len(embeddings) * (volumes_to_embed(sets) + _GROUP_COST * len(groups)))
    shuffled = sets.shuffled().labels
    scores: list[Score] = []
    embedded = {}
    for name, embedding in embeddings.items():
        embedded[name] = embed_sets(sets, name, embedding, on_volumes=advance)
        for label in groups:
            # many small matrices: threads would cost more than they give, and on a busy machine ten times more
            with threadpool_limits(1, user_api="blas"):
                scores += _group_scores(name, embedded[name], shuffled, label, sets.seed)
            advance(_GROUP_COST)
    on_step(1.0)
    per_sample = {}
    if embedded:
        chosen = next((name for name in ("learned", "handcrafted") if name in embedded), next(iter(embedded)))
        per_sample["typicality"] = known(typicality(embedded[chosen]))
    return StageRecord(scores=tuple(scores), warnings=_left_out(sets), per_sample=per_sample)


def typicality(embedded: EmbeddedSets) -> Float[np.ndarray, "n"]:
    """Return how far each generated volume lies from the training boxes, over how far held-out volumes typically lie.

    Far from all that is real is 2 and more; a good sample, or a copy, is 1 or less. NaN where there are too few real volumes.
    """
    if len(embedded.training) < NEIGHBOURS or not len(embedded.held_out):
        return np.full(len(embedded.generated), np.nan)
    reference = embedded.training.values
    usual = float(np.median(kth_distances(embedded.held_out.values, reference)))
    return kth_distances(embedded.generated.values, reference) / max(usual, np.finfo(np.float64).tiny)


def _group_scores(name: str, embedded: EmbeddedSets, shuffled: np.ndarray, label: str | None, seed: int) -> list[Score]:
    """Return the scores of all volumes, or of a class, in one embedding."""

    def pair(candidate: Features) -> tuple[Features, Features]:
        rows, reference_rows = equal_rows(candidate.labels, embedded.held_out.labels, label, seed=seed)
        return _taken(candidate, rows), _taken(embedded.held_out, reference_rows)

    generated, real, noise = (pair(candidate) for candidate in (embedded.generated, embedded.real, embedded.noise))
    count, real_count = len(generated[0]), len(real[0])
    axes = embedded.components[: min(len(embedded.components), max(count // _SAMPLES_PER_DIMENSION, 1))]

    def random(purpose: str) -> np.random.Generator:
        return numpy_generator(seed, "feature intervals", name, label or "", purpose)

    value = _measured(*generated, axes, random("generated"))
    reached = _measured(*real, axes, random("real"))
    failed = _measured(*noise, axes)
    # shuffling moves volumes between classes, so it changes nothing for all of them together
    mixed = _measured(*pair(embedded.real.labelled(shuffled)), axes) if label is not None else {}
    return [
        Score(
            name=f"{metric.name}_{name}",
            title=f"{metric.title}, {name} features",
            question=metric.question,
            label=label,
            value=_value(value, metric),
            interval=value.get(metric.name, (None, None))[1],
            real=_value(reached, metric),
            real_interval=reached.get(metric.name, (None, None))[1],
            noise=_value(failed, metric),
            shuffled=_value(mixed, metric),
            better=metric.better,
            count=count,
            note=_note(metric, embedded, count, real_count, len(axes), label),
        )
        for metric in _METRICS
    ]


_Measured = dict[str, tuple[float, Interval | None]]


def _measured(
    candidate: Features,
    reference: Features,
    axes: Float[np.ndarray, "c d"],
    random: np.random.Generator | None = None,
) -> _Measured:
    """Return each metric that there are enough samples for, with its interval where there is a generator to draw with."""
    x, y = candidate.values, reference.values
    enough = {metric.name for metric in _METRICS if len(x) >= metric.least}
    found: _Measured = {}
    if "frechet" in enough:
        low_x, low_y = x @ axes.T, y @ axes.T
        found["frechet"] = (frechet_distance(low_x, low_y), frechet_interval(low_x, low_y, random) if random else None)
    if "kid" in enough:
        found["kid"] = (kernel_distance(x, y), kernel_interval(x, y, random) if random else None)
    if "coverage" in enough:
        balls = neighbourhoods(y, x)
        intervals = balls.intervals(random) if random else {}
        found |= {name: (mean, intervals.get(name)) for name, mean in balls.means().items()}
    return found


def _value(measured: _Measured, metric: _Metric) -> float | None:
    return measured[metric.name][0] if metric.name in measured else None


def _taken(features: Features, rows: np.ndarray) -> Features:
    return Features(features.values[rows], features.labels[rows])


def _note(
    metric: _Metric, embedded: EmbeddedSets, count: int, real_count: int, dimensions: int, label: str | None
) -> str:
    """Return what a reader of a score must know."""
    if count < metric.least:
        return f"Not measured: {count} generated and held-out volumes can be compared, {metric.least} are needed."
    parts = [metric.note] if metric.note else []
    if metric.name == "frechet":
        parts.append(
            f"Over the {dimensions} strongest of {embedded.components.shape[1]} features' principal axes of the training boxes, "
            f"{_SAMPLES_PER_DIMENSION} samples for each or more; compare it with the number of real volumes beside it, not "
            "across classes. Interval: bootstrap over both sets, its upward bias taken off."
        )
    if count < _FEW:
        parts.append(f"Few samples ({count}): go by the interval.")
    if real_count != count:
        parts.append(f"The number of real volumes is from {real_count} of them, there are no more.")
    if label is None and embedded.description:
        parts.append(f"{embedded.description[0].upper()}{embedded.description[1:]}.")
    return " ".join(parts)


def _left_out(sets: Sets) -> tuple[str, ...]:
    missing: Sequence[str] = sorted(set(sets.generated.classes) - set(sets.held_out.classes))
    if not missing:
        return ()
    return (f"no held-out volumes of {', '.join(missing)}: left out of all feature distances",)
