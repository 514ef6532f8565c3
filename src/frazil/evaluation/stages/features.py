"""Distances between generated and real volumes in spaces of features: Fréchet, KID, precision, recall, density, coverage.

Every comparison is of equal numbers: of each class as many volumes on both sides as the smaller side has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.feature_distances import (
    NEIGHBORS,
    frechet_distance,
    frechet_interval,
    kernel_distance,
    kernel_interval,
    kth_distances,
    mean_interval,
    neighborhoods,
)
from frazil.evaluation.metrics.metric import MINIMUM, Estimate, Metric, Role
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Better, Question, Score, known
from frazil.evaluation.stages.feature_sets import FeatureSets, embed_sets, equal_numbers, volumes_to_embed
from frazil.evaluation.stages.material import Material, OnStep, count_steps, ignore

_SAMPLES_PER_DIMENSION = 4  # of the Fréchet distance: fewer, and the covariance is mostly chance
_FEW = 50  # below, a value says little without its interval
_GROUP_COST = 10  # comparing a group takes about as long as embedding so many volumes


@dataclass(frozen=True)
class _Kind:
    """What is measured in every embedding, and how many samples it takes at least."""

    title: str
    question: Question
    better: Better
    least: int
    note: str = ""


_BALLS = f"Balls reach to the {NEIGHBORS}-th neighbor. Interval: bootstrap over the samples that it is a mean over."
_KINDS = {
    "frechet": _Kind("Frechet distance", "realistic", "lower", 2 * _SAMPLES_PER_DIMENSION),
    "kid": _Kind("Kernel distance (KID)", "realistic", "lower", MINIMUM, "Unbiased; bootstrap over both sets."),
    "precision": _Kind("Precision", "realistic", "higher", 2 * NEIGHBORS, _BALLS),
    "recall": _Kind("Recall", "varied", "higher", 2 * NEIGHBORS, _BALLS),
    "density": _Kind("Density", "realistic", "as real", 2 * NEIGHBORS, _BALLS),
    "coverage": _Kind("Coverage", "varied", "higher", 2 * NEIGHBORS, _BALLS),
}


def features(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Compare the generated with the held-out volumes in each embedding, all together and class by class.

    Features are brought to mean 0 and spread 1 over the training boxes, so that no unit counts more than another.

    Returns
    -------
    Scores ``<metric>_<embedding>``, and per sample ``typicality``: the distance to the 5th nearest training box over the
    median of that distance of held-out boxes, in the learned embedding or else the handcrafted one. 1 is as near to the
    training boxes as real ones, 2 is twice as far.

    """
    sets, embeddings = material.sets, material.embeddings
    advance = count_steps(on_step, len(embeddings) * (volumes_to_embed(sets) + _GROUP_COST * len(sets.groups)))
    scores: list[Score] = []
    embedded = {}
    for name, embedding in embeddings.items():
        embedded[name] = embed_sets(sets, name, embedding, advance)
        for label in sets.groups:
            # many small matrices: threads would cost more than they give, and on a busy machine ten times more
            with threadpool_limits(1, user_api="blas"):
                scores += _group_scores(name, embedded[name], label, sets.seed)
            advance(_GROUP_COST)
    on_step(1.0)
    chosen = next((name for name in ("learned", "handcrafted") if name in embedded), next(iter(embedded)))
    missing = sorted({*sets.generated.classes} - {*sets.held_out.classes})
    warning = f"no held-out volumes of {', '.join(missing)}: left out of all feature distances"
    return StageRecord(
        scores=tuple(scores),
        warnings=(warning,) if missing else (),
        per_sample={"typicality": known(typicality(embedded[chosen]))},
    )


def typicality(embedded: FeatureSets) -> Float[np.ndarray, "n"]:
    """Return how far each generated volume lies from the training boxes, over how far held-out volumes typically lie.

    Far from all that is real is 2 and more; a good sample, or a copy, is 1 or less. NaN where there are too few real volumes.
    """
    reference = embedded.training.values
    generated, held_out = embedded.by_role["generated"].values, embedded.by_role["held-out"].values
    if len(reference) < NEIGHBORS or not len(held_out):
        return np.full(len(generated), np.nan)
    usual = float(np.median(kth_distances(held_out, reference)))
    return kth_distances(generated, reference) / max(usual, np.finfo(np.float64).tiny)


def _group_scores(name: str, embedded: FeatureSets, label: str | None, seed: int) -> list[Score]:
    """Return the scores of all volumes, or of a class, in one embedding."""
    candidates = {
        role: equal_numbers(of, embedded.by_role["held-out"], label, seed=seed)
        for role, of in embedded.by_role.items()
        # shuffling moves volumes between classes, so it changes nothing for all of them together
        if role != "held-out" and (role != "shuffled" or label is not None)
    }
    count, real_count = len(candidates["generated"][0]), len(candidates["real"][0])
    axes = embedded.components[: min(len(embedded.components), max(count // _SAMPLES_PER_DIMENSION, 1))]
    measured: dict[Role, dict[str, Estimate]] = {}
    for role, pair in candidates.items():
        random = numpy_generator(seed, "feature intervals", name, label or "", role)
        measured[role] = _measured(*pair, axes, random if role in ("generated", "real") else None)
    scores = []
    for key, kind in _KINDS.items():
        metric = Metric(f"{key}_{name}", f"{kind.title}, {name} features", kind.better, question=kind.question)
        found = {role: of[key] for role, of in measured.items() if key in of}
        note = _note(key, embedded, count, real_count, len(axes), label)
        scores.append(metric.score(found, label=label, count=count, note=note))
    return scores


def _measured(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n d"],
    axes: Float[np.ndarray, "c d"],
    random: np.random.Generator | None,
) -> dict[str, Estimate]:
    """Return what there are enough samples for, with intervals where there is a generator to draw with."""
    found = {}
    if len(x) >= _KINDS["frechet"].least:
        low_x, low_y = x @ axes.T, y @ axes.T
        interval = frechet_interval(low_x, low_y, random) if random else None
        found["frechet"] = Estimate(frechet_distance(low_x, low_y), interval)
    if len(x) >= _KINDS["kid"].least:
        found["kid"] = Estimate(kernel_distance(x, y), kernel_interval(x, y, random) if random else None)
    if len(x) >= _KINDS["coverage"].least:
        for name, values in neighborhoods(y, x).items():
            found[name] = Estimate(float(values.mean()), mean_interval(values, random) if random else None)
    return found


def _note(key: str, embedded: FeatureSets, count: int, real_count: int, dimensions: int, label: str | None) -> str:
    """Return what a reader of a score must know."""
    kind = _KINDS[key]
    if count < kind.least:
        return f"Not measured: {count} generated and held-out volumes can be compared, {kind.least} are needed."
    parts = [kind.note]
    if key == "frechet":
        parts.append(
            f"Over the {dimensions} strongest of {embedded.components.shape[1]} features' principal axes of the training boxes, "
            f"{_SAMPLES_PER_DIMENSION} samples for each or more; compare it with the real number, not across classes. "
            "Interval: bootstrap over both sets, corrected for its upward bias."
        )
    if count < _FEW:
        parts.append(f"Few samples ({count}): go by the interval.")
    if real_count != count:
        parts.append(f"The real number is from {real_count} volumes, as many as there are.")
    if label is None and embedded.description:
        parts.append(f"{embedded.description[0].upper()}{embedded.description[1:]}.")
    return " ".join(filter(None, parts))
