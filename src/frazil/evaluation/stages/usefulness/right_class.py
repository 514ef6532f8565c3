"""Whether generated volumes show the class that they are labeled with: what classifiers trained on real boxes say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from frazil.evaluation.metrics.bootstrap import Draws
from frazil.evaluation.metrics.metric import MINIMUM, Metric, Role
from frazil.evaluation.scores import Score
from frazil.evaluation.stages.usefulness.classifier import Classifier
from frazil.evaluation.volumes import Sets, VolumeSet

DOUBT = "class doubt"

_ACCURACY = Metric("class_accuracy", "Accuracy of classifiers trained on real", "higher", question="right class")
_BALANCED = Metric("class_balanced_accuracy", "The same, classes counting alike", "higher", question="right class")
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

    The mean probability of the classifiers, which are trained on `sets.training`, decides.
    """
    known = np.array(classifiers[0].classes)
    groups: dict[Role, VolumeSet] = {
        "generated": sets.generated,
        "real": sets.held_out,
        "noise": sets.noise(),
        "shuffled": sets.shuffled(),
    }
    # 1 where the class of a volume is the likeliest, else 0
    right = {
        role: np.asarray(known[_chances(classifiers, of).argmax(axis=1)] == of.labels, dtype=np.float64)
        for role, of in groups.items()
    }

    def score(metric: Metric, shares: Mapping[str, float], label: str | None = None) -> Score:
        count = int(np.isin(sets.generated.labels, list(shares)).sum())
        found = {
            role: Draws.of(of.labels, shares, seed=sets.seed, purpose=f"right class {role} {label or ''}").estimate(
                right[role],
                lambda means: np.clip(means, 0, 1),  # weights sum to 1 but for rounding
            )
            for role, of in groups.items()
            if np.isin(of.labels, list(shares)).sum() >= MINIMUM
        }
        few = f"{count} generated volumes of classes that the real boxes have; {MINIMUM} are needed"
        return metric.score(found, label=label, count=count, note=_NOTE if count >= MINIMUM else few)

    # a class that real boxes lack, or held-out ones, cannot be compared
    shares = {name: float(np.sum(sets.generated.labels == name)) for name in sets.generated.classes if name in known}
    return [
        score(_ACCURACY, shares),
        score(_BALANCED, dict.fromkeys(shares, 1.0)),
        *(score(_ACCURACY, {name: shares[name]} if name in shares else {}, name) for name in sets.generated.classes),
    ]


def _chances(classifiers: Sequence[Classifier], volumes: VolumeSet) -> Float[np.ndarray, "n k"]:
    return np.asarray(np.mean([one.predict(volumes.volumes) for one in classifiers], axis=0, dtype=np.float64))
