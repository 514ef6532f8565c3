"""Are generated volumes new, or copies of training boxes?

The nearest training box of each generated volume stands beside the nearest training box of each held-out real box: whoever
learned the distribution, and not its samples, lies no nearer than a real box that nobody has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.bootstrap import Estimate
from frazil.evaluation.metrics.matching import Search, aligned_box
from frazil.evaluation.metrics.nearness import (
    LEAST,
    SAME_VOXELS,
    Nearest,
    Nearness,
    Reference,
    measure_nearness,
    medians,
)
from frazil.evaluation.metrics.ranks import stratified_rank_test
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Better, ClosePair, Line, Plot, Score, known
from frazil.evaluation.stages.material import Material, OnStep, ignore
from frazil.evaluation.volumes import Sets
from frazil.volume.turns import TURNS

_PAIRS = 10
_COPY = 0.5
"""A copy is less than half as far away as a held-out box of its class, and less than half as far as the next training box; of a box
with a twin the next says nothing."""

_REPLICATES = 1000
_NEAR_QUANTILE = 0.01
_PLOT_POINTS = 121

LineName = Literal["generated", "real held-out", "real training", "noise"]


@dataclass(frozen=True)
class _Named:
    """What is fixed about a score."""

    name: str
    title: str
    better: Better
    unit: str = ""


_RATIO = _Named(
    "nearest_distance_ratio", "Distance to the nearest training box, over that of held-out boxes", "as real"
)
_P = _Named("nearer_than_held_out_p", "Chance of lying so near to training boxes without memorising (p)", "higher")
_CHANCE = _Named("nearer_than_held_out_chance", "Chance to lie nearer than a held-out box of its class", "as real")
_AUTHENTIC = _Named("authpct", "Authentic volumes (AuthPct)", "as real", "%")
_NEAR = _Named("unusually_near", "Volumes nearer than all but 1 % of held-out boxes", "as real", "%")
_COPIES = _Named("near_copies", "Volumes that all but copy one training box", "lower", "%")
_SECOND = _Named("nearest_to_second_ratio", "Distance to the nearest training box, over that to the second", "as real")
_ALL = (_RATIO, _P, _CHANCE, _AUTHENTIC, _NEAR, _COPIES, _SECOND)


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
    lacking = _lacking(sets)
    if len(sets.generated) == 0 or len(sets.held_out) < LEAST or len(sets.training) < 2:
        return StageRecord(scores=tuple(_unmeasured(named, sets, lacking) for named in _ALL))
    nearness = measure_nearness(sets, on_step)
    reference = Reference.of(nearness.held_out)
    ratios = reference.ratios(nearness.generated)
    if lacking:
        scores = tuple(_unmeasured(named, sets, lacking) for named in _ALL)
    else:
        judges = (_ratio_scores, _rank_scores, _share_scores)
        scores = tuple(score for judge in judges for score in judge(nearness, reference, sets))
    return StageRecord(
        scores=scores,
        plots=() if lacking else (_plot(nearness, reference),),
        close_pairs=_close_pairs(nearness, ratios, sets),
        warnings=_warnings(nearness, reference, sets),
        per_sample={"memorisation": known(1 - ratios)},
    )


def pair_volumes(sets: Sets, pair: ClosePair) -> tuple[Float32[np.ndarray, "z y x"], Float32[np.ndarray, "z y x"]]:
    """Return the generated volume of a pair, and its training box turned and shifted to lie on it (0 where it has no voxel)."""
    volume = sets.generated.volumes[sets.generated.names.index(pair.sample)]
    box = sets.training.volumes[sets.training.names.index(pair.box)]
    return volume, aligned_box(box, pair.rotation, pair.shift_voxel)


def _lacking(sets: Sets) -> str:
    """Say what there is too little of."""
    needed = (("generated", sets.generated, LEAST), ("held-out", sets.held_out, LEAST), ("training", sets.training, 2))
    short = [f"{len(of)} {name} volumes, {least} are needed" for name, of, least in needed if len(of) < least]
    return f"Not measured: {'; '.join(short)}." if short else ""


def _unmeasured(named: _Named, sets: Sets, note: str, label: str | None = None) -> Score:
    return _score(named, sets, (Estimate(), Estimate(), Estimate()), note, label)


def _score(
    named: _Named, sets: Sets, found: tuple[Estimate, Estimate, Estimate], note: str, label: str | None = None
) -> Score:
    """Return the score of generated volumes beside that of real ones and of noise."""
    generated, real, noise = found
    return Score(
        **vars(named),
        question="new",
        label=label,
        value=generated.value,
        interval=generated.interval,
        real=real.value,
        real_interval=real.interval,
        noise=noise.value,
        count=len(sets.generated.of(label)) if label else len(sets.generated),
        note=note,
    )


def _ratio_scores(nearness: Nearness, reference: Reference, sets: Sets) -> list[Score]:
    """Return the distance ratio of all volumes, and of each class if there are several."""
    search = Search.of_edge(sets.generated.volumes.shape[-1])
    note = (
        f"Median. Distance: 1 - correlation of the central {2 * search.half_voxel + 1}^3 voxels, the best over shifts up to "
        f"{search.shift_voxel} voxels and half turns about x, y, z. Over the median of the held-out boxes of its class, of all "
        f"where it has fewer than {LEAST}. Bootstrap over both. Smooth volumes lie nearer to all boxes, copies or not."
    )
    scores = [_score(_RATIO, sets, _ratios(nearness, reference, sets, None), note)]
    classes = sets.generated.classes if len(sets.generated.classes) > 1 else ()
    for label in classes:
        generated, held_out = len(sets.generated.of(label)), len(sets.held_out.of(label))
        if min(generated, held_out) < LEAST:
            note = f"Not measured: {generated} generated and {held_out} held-out volumes, {LEAST} of each are needed."
            scores.append(_unmeasured(_RATIO, sets, note, label))
        else:
            scores.append(_score(_RATIO, sets, _ratios(nearness, reference, sets, label), "", label))
    return scores


def _ratios(
    nearness: Nearness, reference: Reference, sets: Sets, label: str | None
) -> tuple[Estimate, Estimate, Estimate]:
    def ratio(of: Nearest, role: str) -> Estimate:
        strata = reference.strata(of, label)
        if not strata:
            return Estimate()
        drawn = medians(strata, numpy_generator(sets.seed, "memorisation ratio", role, label or ""))
        return _estimate(drawn[0], drawn[1:])

    return ratio(nearness.generated, "generated"), ratio(nearness.training, "real"), ratio(nearness.noise, "noise")


def _rank_scores(nearness: Nearness, reference: Reference, sets: Sets) -> list[Score]:
    """Return whether generated volumes are nearer than held-out boxes: how surely, and how often."""

    def test(of: Nearest, role: str) -> tuple[Estimate, Estimate]:
        strata = reference.strata(of, pooled=False)
        if not strata:
            return Estimate(), Estimate()
        found = stratified_rank_test(strata, numpy_generator(sets.seed, "memorisation ranks", role))
        return Estimate(found.p), Estimate(found.chance, found.interval)

    generated, real, noise = (
        test(nearness.generated, "generated"),
        test(nearness.training, "real"),
        test(nearness.noise, "noise"),
    )
    few = [name for name in sets.generated.classes if name not in reference.distances]
    left_out = f" Without {', '.join(few)}: fewer than {LEAST} held-out boxes." if few else ""
    return [
        _score(
            _P,
            sets,
            (generated[0], real[0], noise[0]),
            "One-sided rank test (Mann-Whitney) against held-out boxes, within classes, which are joined after van Elteren. Boxes "
            f"of one tomogram are not quite independent: read it together with the chance to lie nearer.{left_out}",
        ),
        _score(
            _CHANCE,
            sets,
            (generated[1], real[1], noise[1]),
            f"0.5 where generated and held-out volumes are equally near. Bootstrap over both.{left_out}",
        ),
    ]


def _share_scores(nearness: Nearness, reference: Reference, sets: Sets) -> list[Score]:
    """Return what is said of single volumes: how many are authentic, unusually near, or copies."""
    generated, held_out = nearness.generated, nearness.held_out
    training, noise = nearness.training, nearness.noise
    limit = float(np.quantile(reference.ratios(held_out), _NEAR_QUANTILE))
    unknown = int(np.isnan(nearness.authentic(generated)).sum())

    def share(named: _Named, of: Callable[[Nearest], np.ndarray], real: Nearest, note: str) -> Score:
        statistic = np.median if named is _SECOND else np.mean
        found = []
        for role, nearest in (("generated", generated), ("real", real), ("noise", noise)):
            values = of(nearest)
            values = values[np.isfinite(values)]
            random = numpy_generator(sets.seed, "memorisation shares", named.name, role)
            drawn = values[random.integers(len(values), size=(_REPLICATES, len(values)))] if len(values) else values
            found.append(_estimate(statistic(values), statistic(drawn, axis=1)) if len(values) else Estimate())
        return _score(named, sets, (found[0], found[1], found[2]), note)

    return [
        share(
            _AUTHENTIC,
            lambda of: 100 * nearness.authentic(of),
            held_out,
            "Further from their nearest training box than that box is from its own nearest other (Alaa et al. 2022). Real: "
            "held-out boxes. Neighbouring boxes share voxels, but at shifts beyond the search, and count as others; boxes with "
            "the very same voxels do not count." + (f" {unknown} volumes could not be judged." if unknown else ""),
        ),
        share(
            _NEAR,
            lambda of: 100 * (reference.ratios(of) < limit),
            training,
            f"Distance ratio below {limit:.3f}, the 1 % quantile of {len(held_out.box)} held-out boxes.",
        ),
        share(
            _COPIES,
            lambda of: 100 * _is_copy(of, reference, nearness),
            training,
            "Less than half as far from a training box as held-out boxes are, and less than half as far as from the second: "
            "smoothness alone does not make a copy. Where the box has a twin among the training boxes, the first alone decides.",
        ),
        share(_SECOND, _to_second, held_out, "Median. Near 1 without copies, near 0 for copies. Real: held-out boxes."),
    ]


def _estimate(value: float, drawn: Float[np.ndarray, "rows"]) -> Estimate:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value), (float(low), float(high)))


def _to_second(of: Nearest) -> Float[np.ndarray, "n"]:
    """Return the distance to the nearest box over that to the second; two that are both the same are no copy of one."""
    return np.where(of.second > SAME_VOXELS, of.distance / np.maximum(of.second, SAME_VOXELS), 1.0)


def _is_copy(of: Nearest, reference: Reference, nearness: Nearness) -> Bool[np.ndarray, "n"]:
    """Say which volumes copy one training box. The second nearest of a copy is the twin, if the box has one."""
    ratios = reference.ratios(of)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_twin = nearness.to_other[of.box] * ratios / of.distance  # in the same units: medians of the class
    twin = nearness.doubled[of.box] | (to_twin < _COPY)
    return np.asarray((ratios < _COPY) & ((_to_second(of) < _COPY) | (of.distance <= SAME_VOXELS) | twin))


def _close_pairs(nearness: Nearness, ratios: Float[np.ndarray, "n"], sets: Sets) -> tuple[ClosePair, ...]:
    """Return the pairs of the lowest distance ratios."""
    matches = nearness.generated.matches
    return tuple(
        ClosePair(
            sample=sets.generated.names[row],
            box=sets.training.names[matches.box[row, 0]],
            distance=float(matches.distance[row, 0]),
            ratio=float(ratios[row]),
            rotation=TURNS[matches.turn[row, 0]],
            shift_voxel=tuple(int(shift) for shift in matches.shift_voxel[row, 0]),
        )
        for row in np.argsort(ratios, kind="stable")[:_PAIRS]
    )


def _plot(nearness: Nearness, reference: Reference) -> Plot:
    """Return which share of each set lies nearer than a distance ratio."""
    sets: tuple[tuple[LineName, Nearest], ...] = (
        ("generated", nearness.generated),
        ("real held-out", nearness.held_out),
        ("real training", nearness.training),
        ("noise", nearness.noise),
    )
    ratios = {name: reference.ratios(of) for name, of in sets}
    last = max(1.5, float(np.nanmax(ratios["generated"])), float(np.nanmax(ratios["real held-out"])))
    x = np.linspace(0, 1.05 * last, _PLOT_POINTS)
    lines = []
    for name, values in ratios.items():
        values = values[np.isfinite(values)]
        if len(values) == 0:
            continue
        share = (values[:, None] <= x).mean(axis=0)
        # Dvoretzky, Kiefer & Wolfowitz: the whole true curve lies in the band with 95 %
        width = np.sqrt(np.log(2 / 0.05) / (2 * len(values)))
        low, high = np.clip([share - width, share + width], 0, 1)
        lines.append(Line(name=name, y=tuple(share.tolist()), low=tuple(low.tolist()), high=tuple(high.tolist())))
    return Plot(
        name="nearest_training_box",
        title="Distance to the nearest training box",
        x_title="distance over the median of held-out boxes",
        y_title="share of volumes nearer than that",
        x=tuple(x.tolist()),
        lines=tuple(lines),
    )


def _warnings(nearness: Nearness, reference: Reference, sets: Sets) -> tuple[str, ...]:
    """Say what a user must know whatever the scores are."""
    generated, held_out = nearness.generated, nearness.held_out
    found = []

    def first(rows: np.ndarray) -> str:
        row = int(np.flatnonzero(rows)[0])
        return f"the first is {sets.generated.names[row]}, a copy of {sets.training.names[generated.box[row]]}"

    same = generated.distance <= SAME_VOXELS
    if same.any():
        found.append(
            f"{same.sum()} of {len(same)} generated volumes are training boxes, voxel for voxel ({first(same)}); "
            "check that GENERATED is not the training data"
        )
    copies = _is_copy(generated, reference, nearness) & ~same
    if copies.any():
        found.append(
            f"{copies.sum()} of {len(copies)} generated volumes all but copy a training box ({first(copies)}); "
            "look at the closest pairs"
        )
    leaked = held_out.distance <= SAME_VOXELS
    if leaked.any():
        found.append(
            f"{leaked.sum()} of {len(leaked)} held-out boxes hold the same voxels as a training box, so that copies pass for new; "
            "curate again with --split tomogram"
        )
    if twins := int(nearness.doubled.sum()):
        found.append(
            f"{twins} of {nearness.searched} training boxes hold the same voxels as another, which then does not "
            "count as the nearest other; curate again without doubled picks"
        )
    return tuple(found)
