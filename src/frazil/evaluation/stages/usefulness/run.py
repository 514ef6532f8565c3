"""What generated volumes are good for: the classification accuracy score (Ravuri & Vinyals 2019) and its rivals.

Classifiers are trained on generated volumes, on real ones, and on real ones with generated ones added, and tested on held-out
real volumes. The same classifiers say whether generated volumes show the class that they are labeled with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from frazil.core.seeds import derive_seed
from frazil.evaluation.metrics.metric import MINIMUM, Estimate, Metric, Role
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Line, LineName, Plot, Score, known
from frazil.evaluation.stages.material import Material, OnStep, ignore
from frazil.evaluation.stages.usefulness.arms import CentralCubes, Plan, share_name
from frazil.evaluation.stages.usefulness.classifier import BATCH_SIZE, STEPS, Classifier, train_classifier
from frazil.evaluation.stages.usefulness.right_class import DOUBT, class_doubts, right_class_scores
from frazil.evaluation.volumes import Sets, VolumeSet
from frazil.volume.turns import wedge_turns

SHARES = (0.25, 0.5, 1.0, 2.0)

_MEASURES = ("balanced accuracy", "accuracy")

Right = dict[str, Float[np.ndarray, "seeds n"]]
"""Of each arm: 1 where a held-out box was given to its class, 0 where not, a row for each seed."""


def usefulness(
    material: Material,
    on_step: OnStep = ignore,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    shares: Sequence[float] = SHARES,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
) -> StageRecord:
    """Measure what generated volumes are good for, and whether they show their class.

    Parameters
    ----------
    seeds : each arm is trained once for each; intervals, over seeds and held-out boxes, take two or more.
    shares : generated volumes that are added to real ones, as shares of the real count.
    """
    sets = material.sets
    if material.quick:  # a quarter of the time, and no intervals
        seeds, shares = seeds[:1], (1.0,)

    def frequent(of: VolumeSet, classes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in classes if np.sum(of.labels == name) >= MINIMUM)

    real_classes = frequent(sets.training, frequent(sets.held_out, sets.training.classes))
    classes = frequent(sets.generated, real_classes)
    warnings = tuple(_warnings(sets, real_classes, classes))
    unmeasured = [*_CAS, *(metric for share in shares for metric in _addition_metrics(*_share_titles(share)))]
    if len(real_classes) < 2:
        few = f"{len(real_classes)} classes with {MINIMUM} training and {MINIMUM} held-out boxes; 2 are needed"
        return StageRecord(scores=tuple(metric.score(note=few) for metric in unmeasured), warnings=warnings)
    turns = wedge_turns(material.tilt_range_degrees)
    plan = Plan(CentralCubes(sets), real_classes, classes, tuple(shares), floors=not material.quick, turns=turns)
    right, judges = _train(plan, seeds, steps, batch_size, on_step)
    scores = right_class_scores(judges, plan.cubes.sets)
    plots: tuple[Plot, ...] = ()
    if len(classes) > 1:
        table = _Table(plan, right)
        scores += table.scores()
        plots = (table.plot(),)
    else:
        few = f"{len(classes)} classes with {MINIMUM} generated, training and held-out volumes; 2 are needed"
        scores += [metric.score(note=few) for metric in unmeasured]
    doubts = class_doubts(judges, plan.cubes.sets.generated)
    return StageRecord(scores=tuple(scores), plots=plots, warnings=warnings, per_sample={DOUBT: known(doubts)})


def _warnings(sets: Sets, real_classes: Sequence[str], classes: Sequence[str]) -> Iterator[str]:
    """Return which classes are left out."""
    if names := ", ".join(sorted({*sets.training.classes, *sets.held_out.classes} - {*real_classes})):
        yield f"{names}: fewer than {MINIMUM} training or held-out boxes; left out of the classification"
    if names := ", ".join(sorted({*real_classes} - {*classes})):
        yield f"{names}: fewer than {MINIMUM} generated volumes; left out of the usefulness for training"


def _train(
    plan: Plan, seeds: Sequence[int], steps: int, batch_size: int, on_step: OnStep
) -> tuple[Right, list[Classifier]]:
    """Train all arms with all seeds; return what they got right, and the classifiers of the arm that judges."""
    trainings = [(seed, arm) for seed in seeds for arm in plan.arms(seed)]
    right: dict[str, list[np.ndarray]] = {arm.name: [] for _, arm in trainings}
    judges = []
    for done, (seed, arm) in enumerate(trainings):

        def on_part(part: float, done: int = done) -> None:
            on_step((done + part) / len(trainings))

        classifier = train_classifier(
            arm.volumes(),
            arm.classes,
            seed=derive_seed(plan.cubes.sets.seed, "usefulness", seed),
            steps=steps,
            batch_size=batch_size,
            window_voxel=plan.cubes.window_voxel,
            turns=arm.turns,
            on_step=on_part,
        )
        found = np.array(arm.classes)[classifier.predict(plan.held_out.volumes).argmax(axis=1)]
        right[arm.name].append(found == plan.held_out.labels)
        if arm.name == plan.judge:
            judges.append(classifier)
    return {name: np.array(rows, dtype=np.float64) for name, rows in right.items()}, judges


def over_seeds_and_boxes(
    right: Float[np.ndarray, "seeds n"],
    labels: np.ndarray,
    weights: Float[np.ndarray, "n"],
    *,
    least: float = -1.0,
) -> Estimate:
    """Return a weighted sum over held-out boxes, its mean over seeds, and its 95 % interval; no interval of one seed.

    Two independent spreads, added as squares: of the mean over seeds (Student's t), and of the boxes that happened to be held out
    (normal, within classes), since a single box that is right in all seeds proves nothing.

    Parameters
    ----------
    right : 1 where a box was right, 0 where not, a row for each seed; or the difference of two trainings, paired box by box.
    weights : of the boxes, equal within a class.
    least : bound of the interval, whose other bound is 1.
    """
    values = right @ weights
    mean = float(np.clip(values.mean(), least, 1.0))  # weights sum to 1 but for rounding
    if len(values) < 2:
        return Estimate(mean)
    seeds = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    by_box = right.mean(axis=0) * weights
    variance = sum(len(own) * own.var(ddof=1) for name in np.unique(labels) if len(own := by_box[labels == name]) > 1)
    half = float(np.hypot(seeds, stats.norm.ppf(0.975) * np.sqrt(variance)))
    return Estimate(mean, (max(mean - half, least), min(mean + half, 1.0)))


def box_weights(measure: str, labels: np.ndarray) -> Float[np.ndarray, "n"]:
    """Return what each held-out box counts: in ``accuracy`` each box alike, in ``balanced accuracy`` each class alike, else one class."""
    names, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if measure == "accuracy":
        return np.full(len(labels), 1 / len(labels))
    if measure == "balanced accuracy":
        return np.asarray(1 / (len(names) * counts[place]))
    return np.asarray((labels == measure) / (labels == measure).sum())


def _accuracy_metrics(name: str, title: str) -> list[Metric]:
    return [
        Metric(f"{name}_{measure.replace(' ', '_')}", f"{title}: {measure}", "higher", question="useful")
        for measure in _MEASURES
    ]


def _addition_metrics(arm: str, title: str) -> list[Metric]:
    """Return the metrics of an addition to real volumes: both accuracies and, last, the gain."""
    capital = title[0].upper() + title[1:]
    gain = Metric(f"gain_{arm}", f"{capital}: gain in balanced accuracy over real alone", "higher", question="useful")
    return [*_accuracy_metrics(f"augment_{arm}", capital), gain]


def _share_titles(share: float, real: str = "real") -> tuple[str, str]:
    return share_name(share), f"{real} + {100 * share:g} % generated"


_CAS = _accuracy_metrics("cas", "Trained on generated, tested on real")
_RECALL = Metric("cas_recall", "Trained on generated: share found", "higher", question="useful")


@dataclass(frozen=True)
class _Table:
    """From right answers to scores."""

    plan: Plan
    right: Right

    def scores(self) -> list[Score]:
        """Return the classification accuracy score, and the accuracy and the gain of everything that was added."""
        plan, equal = self.plan, self.plan.equal
        cas = zip(_CAS, _MEASURES, strict=True)
        scores = [self._score(metric, "generated", "real", measure, len(equal)) for metric, measure in cas]
        counts = {label: int(np.sum(equal.labels == label)) for label in plan.classes}
        scores += [self._score(_RECALL, "generated", "real", label, count) for label, count in counts.items()]
        real_count = len(plan.real)
        for share in plan.shares:
            name, title = _share_titles(share, f"{real_count} real")
            if name in self.right:
                scores += self._addition(name, title, "real", real_count + plan.added(share))
            else:
                few = f"{len(plan.generated)} generated volumes of the classes compared; {plan.added(share)} are needed"
                scores += [metric.score(note=few) for metric in _addition_metrics(name, title)]
        pasted, turned = "rival: real + 100 % copy-paste", "rival: real, turned by 180°"
        scores += self._addition("copy_paste", pasted, "real", 2 * real_count)
        scores += self._addition("turns", turned, "real", real_count, f"turns: {', '.join(plan.turns)}")
        if "all_generated" in self.right:
            count = len(plan.all_real)
            title = f"all {count} real + all generated"
            scores += self._addition("all_generated", title, "all_real", count + len(plan.generated))
        return scores

    def plot(self) -> Plot:
        """Return the balanced accuracy by the share of generated volumes, next to that of real volumes alone."""
        shares = [share for share in self.plan.shares if share_name(share) in self.right]
        arms = ["real", *map(share_name, shares)]
        mixed = [self._estimate(self.right[arm], "balanced accuracy") for arm in arms]
        return Plot(
            name="balanced_accuracy_by_share",
            title="Real volumes with generated ones added: balanced accuracy on held-out real",
            x_title=f"generated volumes added, % of {len(self.plan.real)} real",
            y_title="balanced accuracy",
            x=(0.0, *(100 * share for share in shares)),
            lines=(_line("generated", mixed), _line("real training", mixed[:1] * len(mixed))),
        )

    def _addition(self, arm: str, title: str, base: str, count: int, note: str = "") -> list[Score]:
        """Return both accuracies of an arm next to those of its base, and the gain, paired by seed and box."""
        *accuracies, gain = _addition_metrics(arm, title)
        scores = [
            self._score(metric, arm, base, measure, count, note)
            for metric, measure in zip(accuracies, _MEASURES, strict=True)
        ]
        found = self._estimate(self.right[arm] - self.right[base], "balanced accuracy", least=-1.0)
        return [*scores, gain.score({"generated": found}, count=count, note=self._note("0 is no gain", note))]

    def _score(self, metric: Metric, arm: str, base: str, measure: str, count: int, note: str = "") -> Score:
        """Return one measure of an arm; `measure` is one of `_MEASURES` or a class, whose recall it is."""
        arms: dict[Role, str] = {"generated": arm, "real": base}
        if arm == "generated" and self.plan.floors:  # an addition has no floor but its base
            arms |= {"noise": "noise", "shuffled": "shuffled"}
        found = {role: self._estimate(self.right[name], measure) for role, name in arms.items()}
        label = measure if measure in self.plan.classes else None
        return metric.score(found, label=label, count=count, note=self._note(note))

    def _note(self, *said: str) -> str:
        count = len(self.right["real"])
        several = f"mean over {count} seeds, interval over seeds and held-out boxes"
        spread = several if count > 1 else "one seed, no interval"
        return "; ".join(filter(None, [*said, spread]))

    def _estimate(self, right: Float[np.ndarray, "seeds n"], measure: str, *, least: float = 0.0) -> Estimate:
        labels = self.plan.held_out.labels
        return over_seeds_and_boxes(right, labels, box_weights(measure, labels), least=least)


def _line(name: LineName, estimates: Sequence[Estimate]) -> Line:
    bands = [estimate.interval for estimate in estimates if estimate.interval]
    low, high = zip(*bands, strict=True) if len(bands) == len(estimates) else ((), ())
    return Line(name=name, y=tuple(one.value for one in estimates), low=low, high=high)
