"""Whether generated volumes show the class that they are labelled with: what classifiers trained on real boxes say of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from frazil.evaluation.metrics.bootstrap import Draws
from frazil.evaluation.metrics.metric import Estimate
from frazil.evaluation.scores import Score
from frazil.evaluation.stages.usefulness.classifier import Classifier
from frazil.evaluation.volumes import Sets, VolumeSet

MINIMUM = 5
"""Volumes of a class that an accuracy takes."""

DOUBT = "class doubt"

_NOTE = "classifiers trained on the real training boxes; real: on held-out boxes, in the same proportions of classes"


def class_doubts(classifiers: Sequence[Classifier], volumes: VolumeSet) -> Float[np.ndarray, "n"]:
    """Return 1 - the probability of each volume's own class, the mean over `classifiers`; NaN where they do not know the class."""
    chances = _chances(classifiers, volumes)
    doubts = np.full(len(volumes), np.nan)
    for column, label in enumerate(classifiers[0].classes):
        rows = volumes.labels == label
        doubts[rows] = np.maximum(1 - chances[rows, column], 0)  # probabilities sum to 1 but for rounding
    return doubts


def right_class_scores(classifiers: Sequence[Classifier], sets: Sets) -> list[Score]:
    """Return the accuracy on the generated volumes: of all, with every class counting alike, and of each class.

    Parameters
    ----------
    classifiers : of the same classes, trained on `sets.training`; their mean probability decides.
    sets : volumes of the size that they take.
    """
    known = classifiers[0].classes
    groups = {
        "generated": sets.generated,
        "real": sets.held_out,
        "noise": sets.noise(),
        "shuffled": sets.shuffled(),
    }
    right = {role: _right(classifiers, volumes) for role, volumes in groups.items()}
    labels = {role: volumes.labels for role, volumes in groups.items()}
    counts = {name: int((labels["generated"] == name).sum()) for name in sets.generated.classes}
    # a class that real boxes lack, or held-out ones, cannot be compared
    shares = {name: float(count) for name, count in counts.items() if name in known}
    alike = dict.fromkeys(shares, 1.0)
    scores = [
        _score("class_accuracy", "Accuracy of classifiers trained on real", None, right, labels, shares, sets.seed),
        _score("class_balanced_accuracy", "The same, classes counting alike", None, right, labels, alike, sets.seed),
    ]
    for name, count in counts.items():
        own = {name: float(count)} if name in known else {}
        title = "Accuracy of classifiers trained on real"
        scores.append(_score("class_accuracy", title, name, right, labels, own, sets.seed))
    return scores


def _score(
    name: str,
    title: str,
    label: str | None,
    right: dict[str, Float[np.ndarray, "n"]],
    labels: dict[str, np.ndarray],
    shares: dict[str, float],
    seed: int,
) -> Score:
    count = int(np.isin(labels["generated"], list(shares)).sum())
    found = {role: _estimate(role, right[role], labels[role], shares, seed, label) for role in right}
    few = f"{count} generated volumes of classes that the real boxes have; {MINIMUM} are needed"
    return Score(
        name=name,
        title=title,
        question="right class",
        label=label,
        value=found["generated"].value,
        interval=found["generated"].interval,
        real=found["real"].value,
        real_interval=found["real"].interval,
        noise=found["noise"].value,
        shuffled=found["shuffled"].value,
        better="higher",
        count=count,
        note=_NOTE if count >= MINIMUM else few,
    )


def _estimate(
    role: str, right: Float[np.ndarray, "n"], labels: np.ndarray, shares: dict[str, float], seed: int, label: str | None
) -> Estimate:
    if np.isin(labels, list(shares)).sum() < MINIMUM:
        return Estimate()
    draws = Draws.of(labels, shares, seed=seed, purpose=f"right class {role} {label or ''}")
    return draws.estimate(right, lambda means: np.clip(means, 0, 1))  # weights sum to 1 but for rounding


def _right(classifiers: Sequence[Classifier], volumes: VolumeSet) -> Float[np.ndarray, "n"]:
    """Return 1 where the class of a volume is the likeliest, else 0."""
    decided = np.array(classifiers[0].classes)[_chances(classifiers, volumes).argmax(axis=1)]
    return np.asarray(decided == volumes.labels, dtype=np.float64)


def _chances(classifiers: Sequence[Classifier], volumes: VolumeSet) -> Float[np.ndarray, "n k"]:
    return np.asarray(np.mean([one.predict(volumes.volumes) for one in classifiers], axis=0, dtype=np.float64))
