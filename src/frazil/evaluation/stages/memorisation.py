"""Are generated volumes new, or copies of training boxes?

The nearest training box of each generated volume is compared with the nearest training box of each held-out real box: a
generator that learned the distribution, and not its samples, lies no nearer than a real box that it has never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Float32

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.bootstrap import drawn_again, percentile_interval
from frazil.evaluation.metrics.group import LINES
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
from frazil.evaluation.scores import ClosePair, Line, Plot, Score, known
from frazil.evaluation.stages.material import Material, OnStep, count_steps, ignore
from frazil.evaluation.volumes import Sets
from frazil.volume.turns import TURNS

_PAIRS = 10
_JUDGED: tuple[Role, ...] = ("generated", "real", "noise")

_new = partial(Metric, question="new")
_RATIO = _new("nearest_distance_ratio", "Distance to the nearest training box, over that of held-out boxes", "as real")
_P = _new("nearer_than_held_out_p", "Chance of lying so near to training boxes without memorizing (p)", "higher")
_CHANCE = _new("nearer_than_held_out_chance", "Chance to lie nearer than a held-out box of its class", "as real")
_AUTHENTIC = _new("authpct", "Authentic volumes (AuthPct)", "as real", unit="%")
_NEAR = _new("unusually_near", "Volumes nearer than all but 1 % of held-out boxes", "as real", unit="%")
_COPIES = _new("near_copies", "Near duplicates of one training box", "lower", unit="%")
_MIRRORED = _new("near_copies_mirrored", "Near duplicates of one training box, mirrored", "lower", unit="%")
_DOUBLES = Metric(
    "near_doubles", "Volumes with a near duplicate in their own set", "lower", question="varied", unit="%"
)
_SECOND = _new("nearest_to_second_ratio", "Distance to the nearest training box, over that to the second", "as real")


def memorisation(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Compare the nearest training box of generated volumes with that of held-out real boxes.

    Returns
    -------
    Scores of the question ``new``, the ten closest pairs, a plot of distances, and ``memorisation`` of each generated volume:
    1 - its distance ratio, so 1 is a copy and 0 is as near as held-out boxes are. `Score.real` is of training boxes, each
    against the others; of held-out boxes where the note says so.
    """
    sets = material.sets
    needed = (
        ("generated", sets.generated, MINIMUM),
        ("held-out", sets.held_out, MINIMUM),
        ("training", sets.training, 2),
    )
    short = [f"{len(of)} {name} volumes, {least} are needed" for name, of, least in needed if len(of) < least]
    lacking = f"Not measured: {'; '.join(short)}." if short else ""
    all_metrics = (_RATIO, _P, _CHANCE, _AUTHENTIC, _NEAR, _COPIES, _MIRRORED, _DOUBLES, _SECOND)
    scores = tuple(metric.score(count=len(sets.generated), note=lacking) for metric in all_metrics)
    if len(sets.generated) == 0 or len(sets.held_out) < MINIMUM or len(sets.training) < 2:
        return StageRecord(scores=scores)
    nearness = measure_nearness(sets, count_steps(on_step, volumes_to_search(sets)))
    on_step(1.0)
    if not lacking:
        scores = (*_ratio_scores(sets, nearness), *_rank_scores(sets, nearness), *_share_scores(sets, nearness))
    return StageRecord(
        scores=scores,
        plots=() if lacking else (_plot(nearness),),
        close_pairs=_close_pairs(sets, nearness),
        warnings=tuple(_warnings(sets, nearness)),
        per_sample={"memorisation": known(1 - nearness.ratios(nearness.by_role["generated"]))},
    )


def pair_volumes(sets: Sets, pair: ClosePair) -> tuple[Float32[np.ndarray, "z y x"], Float32[np.ndarray, "z y x"]]:
    """Return the generated volume of a pair, and its training box turned and shifted to lie on it (0 where it has no voxel)."""
    volume = sets.generated.volumes[sets.generated.names.index(pair.sample)]
    box = sets.training.volumes[sets.training.names.index(pair.box)]
    return volume, aligned_box(box, pair.rotation, pair.shift_voxel)


def _ratio_scores(sets: Sets, nearness: Nearness) -> Iterator[Score]:
    """Yield the distance ratio of all volumes, and of each class if there are several."""
    search = Search(sets.generated.volumes.shape[-1])
    about = (
        f"Median. Distance: 1 - correlation of the central {2 * search.half_voxel + 1}^3 voxels, the best over shifts of up "
        f"to {search.shift_voxel} voxels and half turns about x, y, z; over the median of the held-out boxes of the class (of "
        f"all, if it has fewer than {MINIMUM}). Bootstrap over both. Smooth volumes are nearer to all boxes, copies or not."
    )
    for label in sets.groups:
        generated, held_out = (len(of if label is None else of.of(label)) for of in (sets.generated, sets.held_out))
        enough = min(generated, held_out) >= MINIMUM
        few = f"Not measured: {generated} generated and {held_out} held-out volumes, {MINIMUM} of each are needed."
        found = {
            role: median_ratio(strata, numpy_generator(sets.seed, "memorisation ratio", role, label or ""))
            for role in _JUDGED
            if enough and (strata := nearness.strata(nearness.by_role[role], label))
        }
        note = about if label is None else "" if enough else few
        yield _RATIO.score(found, label=label, count=generated, note=note)


def _rank_scores(sets: Sets, nearness: Nearness) -> Iterator[Score]:
    """Yield whether generated volumes are nearer than held-out boxes: how surely, and how often."""
    tests = {
        role: rank_test(strata, numpy_generator(sets.seed, "memorisation ranks", role))
        for role in _JUDGED
        if (strata := nearness.strata(nearness.by_role[role], pooled=False))
    }
    few = [name for name in sets.generated.classes if name not in nearness.reference]
    left_out = f" Without {', '.join(few)}: fewer than {MINIMUM} held-out boxes." if few else ""
    yield _P.score(
        {role: Estimate(p) for role, (p, _) in tests.items()},
        count=len(sets.generated),
        note="One-sided rank test (Mann-Whitney) against held-out boxes, within classes, combined with van Elteren's weights. "
        f"Boxes of one tomogram are not quite independent: read it together with the chance to lie nearer.{left_out}",
    )
    yield _CHANCE.score(
        {role: chance for role, (_, chance) in tests.items()},
        count=len(sets.generated),
        note=f"0.5 where generated and held-out volumes are equally near. Bootstrap over both.{left_out}",
    )


def _share_scores(sets: Sets, nearness: Nearness) -> Iterator[Score]:
    """Yield what is said of single volumes: how many are authentic, unusually near, or copies."""
    generated, held_out = nearness.by_role["generated"], nearness.by_role["held-out"]

    def share(
        metric: Metric,
        values: Callable[[Nearest], np.ndarray],
        note: str,
        *,
        real: Role = "real",
        median: bool = False,
        of: Nearest | None = None,
    ) -> Score:
        statistic = np.median if median else np.mean
        found: dict[Role, Estimate] = {}
        for role in _JUDGED if of is None else _JUDGED[:2]:
            one = values(
                of if of is not None and role == "generated" else nearness.by_role[real if role == "real" else role]
            )
            one = one[np.isfinite(one)]
            if len(one):
                drawn = drawn_again(one, numpy_generator(sets.seed, "memorisation shares", metric.name, role))
                found[role] = Estimate(float(statistic(one)), percentile_interval(statistic(drawn, axis=1)))
        return metric.score(found, count=len(sets.generated), note=note)

    unknown = int(np.isnan(nearness.authentic(generated)).sum())
    yield share(
        _AUTHENTIC,
        lambda of: 100 * nearness.authentic(of),
        "Further from their nearest training box than that box is from its own nearest other (Alaa et al. 2022). Real: "
        "held-out boxes. Neighboring boxes share voxels, but at shifts beyond the search, and count as others; boxes with "
        "the very same voxels do not count." + (f" {unknown} volumes could not be judged." if unknown else ""),
        real="held-out",
    )
    limit = float(np.quantile(nearness.ratios(held_out), 0.01))
    yield share(
        _NEAR,
        lambda of: 100 * (nearness.ratios(of) < limit),
        f"Distance ratio below {limit:.3f}, the 1 % quantile of {len(held_out.box)} held-out boxes.",
    )
    yield share(
        _COPIES,
        lambda of: 100 * nearness.copies(of),
        "Less than half as far from a training box as held-out boxes are, and less than half as far as from the second: "
        "smoothness alone does not make a copy. Where the box has a twin among the training boxes, the first alone decides.",
    )
    yield share(
        _MIRRORED,
        lambda of: 100 * nearness.copies(of),
        "As above for the volumes mirrored in x, which no half turn brings back. Real: training boxes as they are.",
        of=nearness.mirrored,
    )
    yield share(
        _DOUBLES,
        lambda of: 100 * nearness.doubles(of),
        "Less than half as far from another volume of the set as held-out boxes are from training boxes. Real: training boxes.",
        of=nearness.among,
    )
    note = "Median. Near 1 without copies, near 0 for copies. Real: held-out boxes."
    yield share(_SECOND, nearness.to_second, note, real="held-out", median=True)


def _close_pairs(sets: Sets, nearness: Nearness) -> tuple[ClosePair, ...]:
    """Return the pairs of the lowest distance ratios."""
    generated = nearness.by_role["generated"]
    matches, ratios = generated.matches, nearness.ratios(generated)
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


def _plot(nearness: Nearness) -> Plot:
    """Return the share of each set that lies nearer than a distance ratio."""
    roles: tuple[Role, ...] = ("generated", "held-out", "real", "noise")
    ratios = {role: nearness.ratios(nearness.by_role[role]) for role in roles}
    last = max(1.5, float(np.nanmax(ratios["generated"])), float(np.nanmax(ratios["held-out"])))
    x = np.linspace(0, 1.05 * last, 121)
    lines = []
    for role, values in ratios.items():
        if len(values := values[np.isfinite(values)]):
            share = (values[:, None] <= x).mean(axis=0)
            # Dvoretzky, Kiefer & Wolfowitz: the whole true curve lies in the band with 95 %
            width = np.sqrt(np.log(2 / 0.05) / (2 * len(values)))
            low, high = np.clip([share - width, share + width], 0, 1)
            lines.append(Line(name=LINES[role], y=known(share), low=known(low), high=known(high)))
    return Plot(
        name="nearest_training_box",
        title="Distance to the nearest training box",
        x_title="distance over the median of held-out boxes",
        y_title="share of volumes nearer than that",
        x=tuple(x.tolist()),
        lines=tuple(lines),
    )


def _warnings(sets: Sets, nearness: Nearness) -> Iterator[str]:
    """Yield what a user must know whatever the scores are."""
    generated, held_out = nearness.by_role["generated"], nearness.by_role["held-out"]

    def first(rows: np.ndarray) -> str:
        row = int(np.flatnonzero(rows)[0])
        return f"the first is {sets.generated.names[row]}, a copy of {sets.training.names[generated.box[row]]}"

    same = generated.distance <= SAME_VOXELS
    if same.any():
        yield (
            f"{same.sum()} of {len(same)} generated volumes are training boxes, voxel for voxel ({first(same)}); "
            "check that GENERATED is not the training data"
        )
    doubles = nearness.doubles(nearness.among) == 1
    if doubles.any():
        row = int(np.flatnonzero(doubles)[0])
        yield (
            f"{doubles.sum()} of {len(doubles)} generated volumes have a near duplicate among the generated ones (the first is "
            f"{sets.generated.names[row]}, like {sets.generated.names[nearness.among.box[row]]}); they count as one"
        )
    mirrored = nearness.copies(nearness.mirrored)
    if mirrored.any():
        yield f"{mirrored.sum()} of {len(mirrored)} generated volumes are near duplicates of a training box that was mirrored"
    copies = nearness.copies(generated) & ~same
    if copies.any():
        yield (
            f"{copies.sum()} of {len(copies)} generated volumes are near duplicates of a training box ({first(copies)}); "
            "look at the closest pairs"
        )
    leaked = held_out.distance <= SAME_VOXELS
    if leaked.any():
        yield (
            f"{leaked.sum()} of {len(leaked)} held-out boxes hold the same voxels as a training box, so copies pass for new; "
            "curate again with a split by tomogram"
        )
    if twins := int(nearness.doubled.sum()):
        yield (
            f"{twins} of {nearness.searched} training boxes hold the same voxels as another, which then does not count as the "
            "nearest other; curate again without doubled picks"
        )
