"""Are generated volumes new, or copies of training boxes?

The nearest training box of each generated volume is compared with the nearest training box of each held-out real box: a
generator that learned the distribution, and not its samples, lies no nearer than a real box that it has never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float, Float32

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.bootstrap import drawn_again, percentile_interval
from frazil.evaluation.metrics.matching import Search, aligned_box
from frazil.evaluation.metrics.metric import MINIMUM, Estimate, Metric, Role
from frazil.evaluation.metrics.nearness import (
    SAME_VOXELS,
    Nearest,
    Nearness,
    measure_nearness,
    median_ratio,
    rank_test,
    volumes_to_search,
)
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import ClosePair, Line, LineName, Plot, Score, known
from frazil.evaluation.stages.material import Material, OnStep, count_steps, ignore
from frazil.evaluation.volumes import Sets
from frazil.volume.turns import TURNS

_PAIRS = 10
_NEAR_QUANTILE = 0.01
_PLOT_POINTS = 121


_new = partial(Metric, question="new")
_RATIO = _new("nearest_distance_ratio", "Distance to the nearest training box, over that of held-out boxes", "as real")
_P = _new("nearer_than_held_out_p", "Chance of lying so near to training boxes without memorising (p)", "higher")
_CHANCE = _new("nearer_than_held_out_chance", "Chance to lie nearer than a held-out box of its class", "as real")
_AUTHENTIC = _new("authpct", "Authentic volumes (AuthPct)", "as real", unit="%")
_NEAR = _new("unusually_near", "Volumes nearer than all but 1 % of held-out boxes", "as real", unit="%")
_COPIES = _new("near_copies", "Near duplicates of one training box", "lower", unit="%")
_SECOND = _new("nearest_to_second_ratio", "Distance to the nearest training box, over that to the second", "as real")


def memorisation(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Compare the nearest training box of generated volumes with that of held-out real boxes.

    Returns
    -------
    Scores of the question ``new``, the ten closest pairs, a plot of distances, and ``memorisation`` of each generated volume:
    1 - its distance ratio, so 1 is a copy and 0 is as near as held-out boxes are. `Score.real` is of training boxes, each
    against the others; of held-out boxes where the note says so.

    Raises
    ------
    ShapeError : boxes below 8^3 voxels.
    """
    sets = material.sets
    count, lacking = len(sets.generated), _lacking(sets)
    all_metrics = (_RATIO, _P, _CHANCE, _AUTHENTIC, _NEAR, _COPIES, _SECOND)
    scores = tuple(metric.score(count=count, note=lacking) for metric in all_metrics)
    if count == 0 or len(sets.held_out) < MINIMUM or len(sets.training) < 2:
        return StageRecord(scores=scores)
    nearness = measure_nearness(sets, count_steps(on_step, volumes_to_search(sets)))
    on_step(1.0)
    found = _Found(sets, nearness)
    return StageRecord(
        scores=scores if lacking else (*found.ratio_scores(), *found.rank_scores(), *found.share_scores()),
        plots=() if lacking else (found.plot(),),
        close_pairs=found.close_pairs(),
        warnings=tuple(found.warnings()),
        per_sample={"memorisation": known(1 - found.ratios)},
    )


def pair_volumes(sets: Sets, pair: ClosePair) -> tuple[Float32[np.ndarray, "z y x"], Float32[np.ndarray, "z y x"]]:
    """Return the generated volume of a pair, and its training box turned and shifted to lie on it (0 where it has no voxel)."""
    volume = sets.generated.volumes[sets.generated.names.index(pair.sample)]
    box = sets.training.volumes[sets.training.names.index(pair.box)]
    return volume, aligned_box(box, pair.rotation, pair.shift_voxel)


def _lacking(sets: Sets) -> str:
    """Return a note on what there is too little of."""
    needed = (
        ("generated", sets.generated, MINIMUM),
        ("held-out", sets.held_out, MINIMUM),
        ("training", sets.training, 2),
    )
    short = [f"{len(of)} {name} volumes, {least} are needed" for name, of, least in needed if len(of) < least]
    return f"Not measured: {'; '.join(short)}." if short else ""


@dataclass(frozen=True)
class _Found:
    """From distances to scores."""

    sets: Sets
    nearness: Nearness

    @cached_property
    def ratios(self) -> Float[np.ndarray, "n"]:
        """Distance ratios of the generated volumes."""
        return self.nearness.ratios(self.nearness.generated)

    @cached_property
    def judged(self) -> dict[Role, Nearest]:
        """The sets in a score."""
        return {
            "generated": self.nearness.generated,
            "real": self.nearness.training,
            "noise": self.nearness.noise,
        }

    def ratio_scores(self) -> Iterator[Score]:
        """Return the distance ratio of all volumes, and of each class if there are several."""
        sets = self.sets
        search = Search.of_edge(sets.generated.volumes.shape[-1])
        note = (
            f"Median. Distance: 1 - correlation of the central {2 * search.half_voxel + 1}^3 voxels, the best over shifts of up "
            f"to {search.shift_voxel} voxels and half turns about x, y, z; over the median of the held-out boxes of the class (of "
            f"all, if it has fewer than {MINIMUM}). Bootstrap over both. Smooth volumes are nearer to all boxes, copies or not."
        )
        yield _RATIO.score(self._median_ratios(None), count=len(sets.generated), note=note)
        for label in sets.generated.classes if len(sets.generated.classes) > 1 else ():
            generated, held_out = len(sets.generated.of(label)), len(sets.held_out.of(label))
            few = f"Not measured: {generated} generated and {held_out} held-out volumes, {MINIMUM} of each are needed."
            enough = min(generated, held_out) >= MINIMUM
            found = self._median_ratios(label) if enough else {}
            yield _RATIO.score(found, label=label, count=generated, note="" if enough else few)

    def _median_ratios(self, label: str | None) -> dict[Role, Estimate]:
        return {
            role: median_ratio(strata, numpy_generator(self.sets.seed, "memorisation ratio", role, label or ""))
            for role, of in self.judged.items()
            if (strata := self.nearness.strata(of, label))
        }

    def rank_scores(self) -> Iterator[Score]:
        """Return whether generated volumes are nearer than held-out boxes: how surely, and how often."""
        tests = {
            role: rank_test(strata, numpy_generator(self.sets.seed, "memorisation ranks", role))
            for role, of in self.judged.items()
            if (strata := self.nearness.strata(of, pooled=False))
        }
        few = [name for name in self.sets.generated.classes if name not in self.nearness.reference]
        left_out = f" Without {', '.join(few)}: fewer than {MINIMUM} held-out boxes." if few else ""
        count = len(self.sets.generated)
        yield _P.score(
            {role: Estimate(p) for role, (p, _) in tests.items()},
            count=count,
            note="One-sided rank test (Mann-Whitney) against held-out boxes, within classes, combined with van Elteren's weights. "
            "Boxes of one tomogram are not quite independent: read it together with the chance to lie nearer."
            + left_out,
        )
        yield _CHANCE.score(
            {role: chance for role, (_, chance) in tests.items()},
            count=count,
            note=f"0.5 where generated and held-out volumes are equally near. Bootstrap over both.{left_out}",
        )

    def share_scores(self) -> Iterator[Score]:
        """Return what is said of single volumes: how many are authentic, unusually near, or copies."""
        nearness = self.nearness
        limit = float(np.quantile(nearness.ratios(nearness.held_out), _NEAR_QUANTILE))
        unknown = int(np.isnan(nearness.authentic(nearness.generated)).sum())
        yield self._share(
            _AUTHENTIC,
            lambda of: 100 * nearness.authentic(of),
            "Further from their nearest training box than that box is from its own nearest other (Alaa et al. 2022). Real: "
            "held-out boxes. Neighboring boxes share voxels, but at shifts beyond the search, and count as others; boxes with "
            "the very same voxels do not count." + (f" {unknown} volumes could not be judged." if unknown else ""),
            real=nearness.held_out,
        )
        yield self._share(
            _NEAR,
            lambda of: 100 * (nearness.ratios(of) < limit),
            f"Distance ratio below {limit:.3f}, the 1 % quantile of {len(nearness.held_out.box)} held-out boxes.",
        )
        yield self._share(
            _COPIES,
            lambda of: 100 * nearness.copies(of),
            "Less than half as far from a training box as held-out boxes are, and less than half as far as from the second: "
            "smoothness alone does not make a copy. Where the box has a twin among the training boxes, the first alone decides.",
        )
        note = "Median. Near 1 without copies, near 0 for copies. Real: held-out boxes."
        yield self._share(_SECOND, nearness.to_second, note, real=nearness.held_out)

    def _share(
        self, metric: Metric, of: Callable[[Nearest], np.ndarray], note: str, *, real: Nearest | None = None
    ) -> Score:
        statistic = np.median if metric is _SECOND else np.mean
        found: dict[Role, Estimate] = {}
        for role, nearest in (self.judged | ({"real": real} if real else {})).items():
            values = of(nearest)
            values = values[np.isfinite(values)]
            if len(values):
                random = numpy_generator(self.sets.seed, "memorisation shares", metric.name, role)
                drawn = statistic(drawn_again(values, random), axis=1)
                found[role] = Estimate(float(statistic(values)), percentile_interval(drawn))
        return metric.score(found, count=len(self.sets.generated), note=note)

    def close_pairs(self) -> tuple[ClosePair, ...]:
        """Return the pairs of the lowest distance ratios."""
        matches = self.nearness.generated.matches
        return tuple(
            ClosePair(
                sample=self.sets.generated.names[row],
                box=self.sets.training.names[matches.box[row, 0]],
                distance=float(matches.distance[row, 0]),
                ratio=float(self.ratios[row]),
                rotation=TURNS[matches.turn[row, 0]],
                shift_voxel=tuple(int(shift) for shift in matches.shift_voxel[row, 0]),
            )
            for row in np.argsort(self.ratios, kind="stable")[:_PAIRS]
        )

    def plot(self) -> Plot:
        """Return the share of each set that lies nearer than a distance ratio."""
        sets: dict[LineName, Nearest] = {
            "generated": self.nearness.generated,
            "real held-out": self.nearness.held_out,
            "real training": self.nearness.training,
            "noise": self.nearness.noise,
        }
        ratios = {name: self.nearness.ratios(of) for name, of in sets.items()}
        last = max(1.5, float(np.nanmax(ratios["generated"])), float(np.nanmax(ratios["real held-out"])))
        x = np.linspace(0, 1.05 * last, _PLOT_POINTS)
        lines = []
        for name, values in ratios.items():
            if len(values := values[np.isfinite(values)]):
                share = (values[:, None] <= x).mean(axis=0)
                # Dvoretzky, Kiefer & Wolfowitz: the whole true curve lies in the band with 95 %
                width = np.sqrt(np.log(2 / 0.05) / (2 * len(values)))
                low, high = np.clip([share - width, share + width], 0, 1)
                lines.append(Line(name=name, y=known(share), low=known(low), high=known(high)))
        return Plot(
            name="nearest_training_box",
            title="Distance to the nearest training box",
            x_title="distance over the median of held-out boxes",
            y_title="share of volumes nearer than that",
            x=tuple(x.tolist()),
            lines=tuple(lines),
        )

    def warnings(self) -> Iterator[str]:
        """Return what a user must know whatever the scores are."""
        generated, sets = self.nearness.generated, self.sets

        def first(rows: np.ndarray) -> str:
            row = int(np.flatnonzero(rows)[0])
            return f"the first is {sets.generated.names[row]}, a copy of {sets.training.names[generated.box[row]]}"

        same = generated.distance <= SAME_VOXELS
        if same.any():
            yield (
                f"{same.sum()} of {len(same)} generated volumes are training boxes, voxel for voxel ({first(same)}); "
                "check that GENERATED is not the training data"
            )
        copies = self.nearness.copies(generated) & ~same
        if copies.any():
            yield (
                f"{copies.sum()} of {len(copies)} generated volumes are near duplicates of a training box ({first(copies)}); "
                "look at the closest pairs"
            )
        leaked = self.nearness.held_out.distance <= SAME_VOXELS
        if leaked.any():
            yield (
                f"{leaked.sum()} of {len(leaked)} held-out boxes hold the same voxels as a training box, so copies pass for "
                "new; curate again with --split tomogram"
            )
        if twins := int(self.nearness.doubled.sum()):
            yield (
                f"{twins} of {self.nearness.searched} training boxes hold the same voxels as another, which then does not "
                "count as the nearest other; curate again without doubled picks"
            )
