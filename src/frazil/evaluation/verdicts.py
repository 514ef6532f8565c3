"""The answer to each question in a word, by rules given here and in docs/explanation/evaluation.md, and a sentence with the numbers.

A score *reaches* real volumes, is *near* them, or falls *short*. Graded scores are grouped into aspects, so that five spectra do not
outvote one ring. The answer counts aspects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frazil.evaluation.scores import Better, Evaluation, Interval, Question, Score, TrainedOn, Verdict

Answer = Literal["yes", "partly", "no", "not measured"]
Grade = Literal["reaches", "near", "short"]

REACH_FLOOR, NEAR_FLOOR = 2.0, 5.0
"""Limits of a distance, in multiples of the one between real training boxes and real held-out boxes."""

NEAR_FAILURE = 0.1
"""A distance is also near up to this share of the way from real to noise; for `_SQUARED` distances, after taking the root."""

_SQUARED = ("frechet_", "kid_")  # squared distances: a tenth of the way to noise would be a third of the distance

REACH_SHARE, NEAR_SHARE = 0.15, 0.4
"""How far off a number may be: share of the way from real to failure, or of the real number where that is the aim."""

FEW = 50  # with fewer samples, or fewer held-out boxes, no answer is an unqualified yes: intervals are too wide
MOST = 2 / 3  # share of aspects that must reach real volumes for a yes; none may fall short, and all must be measured

SHORT = 1 / 3
"""Share of aspects above which falling short means no: one of three is a fault, three of eight are a failure."""

SHOWN = 3  # aspects that a sentence names with their numbers, of the worst grade only, to keep it readable


@dataclass(frozen=True)
class Aspect:
    """Scores that say the same thing in different ways, and the `worst` of them, to be shown.

    The grade is ``short`` if at least half of the scores are, ``reaches`` if three quarters do and none is short, else
    ``near``. For rings it is that of the worst class.
    """

    name: str
    grade: Grade
    worst: Score


def with_verdicts(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation with the answers that the current rules give to its scores."""
    generated, held_out = evaluation.generated, evaluation.held_out
    count, others = sum(generated.counts.values()), sum(held_out.counts.values())
    return evaluation.model_copy(update={"verdicts": verdicts(evaluation.scores, count, others, generated.trained_on)})


def verdicts(
    scores: Sequence[Score], count: int, held_out: int, trained_on: TrainedOn = "these boxes"
) -> tuple[Verdict, ...]:
    """Answer the six questions; `count` and `held_out` are the numbers of generated volumes and of held-out boxes."""
    answers: dict[Question, tuple[Answer, str]] = {
        "realistic": _by_aspects(scores, "realistic"),
        "near real data": _by_aspects(scores, "near real data", "real slices"),
        "varied": _varied(scores),
        "new": _new(scores, trained_on),
        "right class": _by_aspects(scores, "right class"),
        "useful": _useful(scores),
    }
    found = []
    for question, (answer, sentence) in answers.items():
        sets = (
            ((count, "samples"),)
            if question == "near real data"
            else ((count, "samples"), (held_out, "held-out boxes"))
        )
        short = [f"{number} {of}" for number, of in sets if number < FEW]
        if short and answer != "not measured":
            sentence += (
                f" Only {' and '.join(short)}: intervals are wide, and below {FEW} no answer is more than partly."
            )
            answer = "partly" if answer == "yes" else answer
        found.append(Verdict(question=question, answer=answer, sentence=sentence))
    return tuple(found)


def compared_with(evaluation: Evaluation) -> str:
    """Say what the verdicts rest on: simulated boxes, real ones, curves of real slices."""
    boxes, curves = evaluation.held_out, evaluation.curves
    count, name = sum(boxes.counts.values()), Path(boxes.path).name
    found = []
    if count and boxes.simulated:
        found.append(
            f"{count} SIMULATED boxes ({name}), not from a microscope: what is called real below is a simulation"
        )
    elif count:
        found.append(f"{count} held-out real boxes ({name})")
    if curves is not None:
        found.append(f"curves of {sum(curves.counts.values())} real subtomograms ({Path(curves.path).name})")
    return f"Compared with {'; and with '.join(found) or 'nothing'}."


_WORST_FIRST: tuple[Grade, ...] = ("short", "near", "reaches")
_RINGS = "rings"
_DISTANCES = ("frechet", "kid", "precision", "density")
_ASPECTS: dict[Question, dict[str, tuple[str, ...]]] = {
    "realistic": {
        "power spectra": ("spectrum_",),
        "missing wedge": ("wedge_", "missing_wedge_"),
        "gray values": ("grey_values_",),
        "autocorrelation": ("autocorrelation_",),
        "contrast of particles": ("particle_contrast",),
        _RINGS: ("ring_depth", "ring_radius_voxel", "ring_spread_", "ring_share_"),
        "learned features": tuple(f"{name}_learned" for name in _DISTANCES),
        "random features": tuple(f"{name}_random" for name in _DISTANCES),
        "handcrafted features": tuple(f"{name}_handcrafted" for name in _DISTANCES),
    },
    "near real data": {
        "power spectra": ("curves_spectrum",),
        "power by direction": ("curves_sectors",),
        "missing wedge": ("curves_wedge",),
        "gray values": ("curves_skew", "curves_excess", "curves_quantile"),
        "background": ("curves_background",),
        "radial profiles": ("curves_profile",),
    },
    "varied": {
        "coverage and recall of learned features": ("coverage_learned", "recall_learned"),
        "coverage and recall of random features": ("coverage_random", "recall_random"),
        "coverage and recall of handcrafted features": ("coverage_handcrafted", "recall_handcrafted"),
        "number of different volumes": ("vendi_",),
        "duplicates": ("near_doubles",),
        "similarity of pairs": ("ms_ssim",),
    },
    "right class": {"classifier": ("class_",), "radial profiles": ("profile_",)},
}
"""What the names of scores start with, by aspect."""


def aspects(scores: Sequence[Score], question: Question) -> list[Aspect]:
    """Group the scores of a question and grade each group. Scores of single classes count where there is none for all classes.

    Rings count where real volumes of the class have one. If generated volumes have none there, what cannot be measured falls short.
    """
    hollow = {score.label for score in scores if score.name.startswith("ring_radius_")}
    shared = {score.label for score in scores if score.name.startswith("ring_share_") and score.value is not None}
    graded: list[tuple[Score, Grade]] = []
    for score in scores:
        lost = score.name.startswith("ring_") and score.value is None and score.real is not None
        given = "short" if lost and score.label in shared else grade(score)
        if score.question == question and given is not None and (score.name != "ring_depth" or score.label in hollow):
            graded.append((score, given))
    pooled = {score.name for score, _ in graded if score.label is None}
    graded = [own for own in graded if own[0].label is None or own[0].name not in pooled]
    found = []
    for name, beginnings in _ASPECTS[question].items():
        members = [own for own in graded if own[0].name.startswith(beginnings)]
        groups = [members]
        if name == _RINGS:  # each class has its own ring: one that is right does not make up for one that is lost
            labels = sorted({score.label for score, _ in members}, key=str)
            groups = [[own for own in members if own[0].label == label] for label in labels]
        rated = [_aspect(name, group) for group in groups if group]
        if rated:
            found.append(min(rated, key=lambda aspect: _WORST_FIRST.index(aspect.grade)))
    return found


def _aspect(name: str, graded: Sequence[tuple[Score, Grade]]) -> Aspect:
    grades = [own for _, own in graded]
    worst = [score for score, own in graded if own == min(grades, key=_WORST_FIRST.index)]
    shown = next((score for score in worst if score.value is not None), worst[0])
    if grades.count("short") * 2 >= len(grades):
        return Aspect(name, "short", shown)
    reaches = "short" not in grades and grades.count("reaches") >= 0.75 * len(grades)
    return Aspect(name, "reaches" if reaches else "near", shown)


def _by_aspects(scores: Sequence[Score], question: Question, real: str = "real training boxes") -> tuple[Answer, str]:
    """Yes if most aspects reach real volumes, none falls short and all are measured; no if more than a third fall short; else partly."""
    found = aspects(scores, question)
    if not found:
        return "not measured", _unmeasured(scores, question)
    by_grade = {kind: [aspect for aspect in found if aspect.grade == kind] for kind in ("reaches", "near", "short")}
    answer: Answer = "partly"
    if len(by_grade["short"]) > SHORT * len(found):
        answer = "no"
    elif not by_grade["short"] and len(by_grade["reaches"]) >= MOST * len(found):
        answer = "yes"
    wording = {"reaches": "on a par with", "near": "near", "short": "short of"}
    present = [kind for kind in wording if by_grade[kind]]
    parts = [
        f"{wording[kind]} {'them' if place else real} in " + _named(by_grade[kind], SHOWN if kind == present[-1] else 0)
        for place, kind in enumerate(present)
    ]
    sentence = "; ".join(parts)
    sentence = f"{sentence[0].upper()}{sentence[1:]}."
    if missing := [name for name in _ASPECTS[question] if name not in {aspect.name for aspect in found}]:
        sentence += f" Not measured: {', '.join(missing)}."
        answer = "partly" if answer == "yes" else answer
    return answer, sentence


def _varied(scores: Sequence[Score]) -> tuple[Answer, str]:
    """Answer by aspects; no if many volumes have a near duplicate in their own set, whatever else is said of them."""
    answer, sentence = _by_aspects(scores, "varied")
    doubles = next((score for score in scores if score.name == "near_doubles" and score.value is not None), None)
    if doubles is None or not (doubles.value or 0.0) > (doubles.real or 0.0):
        return answer, sentence
    sentence = f"{_number(doubles.value, '%')} have a near duplicate among them (real: {_number(doubles.real, '%')}). {sentence}"
    return (
        "no" if (doubles.value or 0.0) >= MANY_COPIES_PERCENT else "partly" if answer == "yes" else answer
    ), sentence


MANY_COPIES_PERCENT = 5.0  # at or above this share of near duplicates, the answer to *new* is no
HALFWAY = 0.5  # it is also no if the median sample is at less than half the distance of held-out boxes

NEARER, SURE = 0.9, 0.01
"""It is not an unqualified yes if they are nearer than 0.9 of it and the probability of that by chance is below 0.01."""


def _new(scores: Sequence[Score], trained_on: TrainedOn) -> tuple[Answer, str]:
    """No if many samples copy a box or are at half the distance; yes if hardly any does and they are no nearer; else partly.

    A generator trained on other boxes cannot have copied these, so for it the only possible answer is no.
    """
    found = {score.name: score for score in scores if score.question == "new" and score.label is None}
    values = {name: score.value for name, score in found.items() if score.value is not None}
    copies, ratio, p = map(values.get, ("near_copies", "nearest_distance_ratio", "nearer_than_held_out_p"))
    if copies is None or ratio is None:
        return "not measured", _unmeasured(scores, "new")
    mirrored = values.get("near_copies_mirrored", 0.0)
    nearer = ratio < NEARER and (p is None or p < SURE)
    real_copies = found["near_copies"].real
    some = max(copies, mirrored) > (real_copies or 0.0)
    in_mirror = f", {_number(mirrored, '%')} of a mirrored one" if mirrored else ""
    sentence = (
        f"{_number(copies, '%')} are near duplicates of a training box (real: {_number(real_copies, '%')})"
        f"{in_mirror}. Samples are at "
        f"{_number(ratio)} times the distance of held-out boxes from the nearest training box (real training boxes: "
        f"{_number(found['nearest_distance_ratio'].real)})"
    )
    if p is not None:
        sentence += f", {'nearer than' if p < SURE else 'no nearer than'} expected by chance (p = {p:.2g})"
    sentence += "."
    if max(copies, mirrored) >= MANY_COPIES_PERCENT or ratio < HALFWAY:
        return "no", sentence
    if trained_on == "other boxes":
        return "not measured", f"The model was trained on other boxes; evaluate it against those. {sentence}"
    if trained_on == "unknown":
        sentence = f"Assuming that the generator was trained on these boxes, which its files do not say: {sentence}"
    if nearer and not some:
        sentence += " None copies a single box, but all are near: smooth volumes are too, so check whether the spectra fall short."
    return ("partly" if nearer or some else "yes"), sentence


_RIVALS = {"gain_copy_paste": "copy-paste", "gain_turns": "half turns"}
_EQUAL, _ALL = "gain_generated_100", "gain_all_generated"


def _useful(scores: Sequence[Score]) -> tuple[Answer, str]:
    """Yes if adding them to all real volumes surely helps, and adding as many as there are real ones surely no less than the rivals.

    Partly if adding all of them, or as many as there are real ones, surely helps, or if a classifier trained on them alone reaches
    one trained on as many real volumes; else no. *Surely*: the interval, over seeds and held-out boxes, is above 0. Other shares do
    not count: the more of them are asked, the more likely one says yes by chance.
    """
    pooled = [score for score in scores if score.question == "useful" and score.label is None]
    known = {score.name: score for score in pooled if score.value is not None}
    gains = {name: score for name, score in known.items() if name.startswith(("gain_generated_", _ALL))}
    alone = known.get("cas_balanced_accuracy")
    if not gains or alone is None:
        return "not measured", _unmeasured(scores, "useful")
    rivals = {name: known[name].value or 0.0 for name in _RIVALS if name in known}
    main = gains.get(_ALL) or gains.get(_EQUAL)
    equal = gains.get(_EQUAL)
    beats = equal is not None and equal.interval is not None and equal.interval[0] >= max(rivals.values(), default=0.0)
    sentence = (
        f"A classifier trained on them alone reaches a balanced accuracy of {_number(alone.value)} on held-out real volumes; "
        f"trained on as many real ones, {_number(alone.real)}."
    )
    shown = dict.fromkeys(score.name for score in (main, equal) if score is not None) or dict.fromkeys(gains)
    changes = [_change(gains[name]) for name in shown]
    changes += [f"{_RIVALS[name]} {value:+.3f}" for name, value in rivals.items()]
    sentence += f" Change of balanced accuracy when adding: {', '.join(changes)}."
    if _helps(main) and beats:
        return "yes", sentence
    return ("partly" if _helps(main) or _helps(equal) or grade(alone) == "reaches" else "no"), sentence


def _helps(gain: Score | None) -> bool:
    return gain is not None and gain.interval is not None and gain.interval[0] > 0


def _change(gain: Score) -> str:
    added = (
        "all generated to all real" if gain.name == _ALL else f"{gain.name.removeprefix('gain_generated_')} % generated"
    )
    spread = f" ({gain.interval[0]:+.3f} to {gain.interval[1]:+.3f})" if gain.interval else " (one seed)"
    return f"{added} {gain.value:+.3f}{spread}"


def _named(found: Sequence[Aspect], shown: int) -> str:
    """Name aspects, the first `shown` with their worst score and its real baseline."""
    texts = []
    for place, aspect in enumerate(found):
        score = aspect.worst
        of = f" of {score.label}" if score.label else ""
        numbers = f"{score.title}{of} {_number(score.value, score.unit)}, real {_number(score.real, score.unit)}"
        texts.append(f"{aspect.name} ({numbers})" if place < shown else aspect.name)
    return ", ".join(texts)


def _number(value: float | None, unit: str = "") -> str:
    return "not measured" if value is None else f"{value:.3g} {unit}".rstrip()


_STAGES: dict[Question, str] = {
    "realistic": "the stages physics and features",
    "near real data": "with curves of real slices",
    "varied": "the stages diversity and features",
    "new": "the stage memorisation",
    "right class": "the stages usefulness and physics",
    "useful": "the stage usefulness",
}


def _unmeasured(scores: Sequence[Score], question: Question) -> str:
    notes = [score.note for score in scores if score.question == question and score.value is None and score.note]
    if notes:
        why = notes[0].removeprefix("Not measured: ")
        return why[0].upper() + why[1:]
    return f"Run {_STAGES[question]}."


def grade(score: Score) -> Grade | None:
    """Compare a score with real volumes; None where it or the real number is not measured.

    ``lower`` is better: *reaches* up to 2 times the real number, *near* up to 5 times, or up to a tenth of the way from real
    to noise. ``higher``: *reaches* within 15 % of the way from the real number to that of a failure (shuffled labels or noise,
    whichever is nearer to real; 0 where there is none), *near* within 40 %. ``as real``: the same shares of the real number.
    A near score whose interval overlaps the real one reaches. One that should be ``as real`` and overlaps it is at least near:
    where the real number is about 0, no share of it says anything. Distances from curves of real slices reach up to the
    distance between halves of these, which are few, and are near up to twice that.
    """
    if score.value is None or score.real is None:
        return None
    if score.question == "near real data" and score.better == "lower":
        reaches, near = score.value <= score.real, score.value <= 2 * score.real
    else:
        reaches, near = _RULES[score.better](score, score.value, score.real)
    met = overlap(score.interval, score.real_interval or (score.real, score.real))
    if reaches or (met and near):
        return "reaches"
    return "near" if near or (met and score.better == "as real") else "short"


def _lower(score: Score, value: float, real: float) -> tuple[bool, bool]:
    if value <= real:
        return True, True
    floor = max(real, 0.0)  # an unbiased distance may fall below 0
    near = value <= NEAR_FLOOR * floor
    if score.noise is not None and score.noise > real:
        power = 0.5 if score.name.startswith(_SQUARED) else 1.0
        own, best, worst = (max(one, 0.0) ** power for one in (value, real, score.noise))
        near = near or own - best <= NEAR_FAILURE * (worst - best)
    return value <= REACH_FLOOR * floor, near


def _higher(score: Score, value: float, real: float) -> tuple[bool, bool]:
    failure = max((one for one in (score.noise, score.shuffled) if one is not None and one < real), default=0.0)
    whole = max(real - failure, 0.0)
    return real - value <= REACH_SHARE * whole, real - value <= NEAR_SHARE * whole


def _as_real(score: Score, value: float, real: float) -> tuple[bool, bool]:
    return abs(value - real) <= REACH_SHARE * abs(real), abs(value - real) <= NEAR_SHARE * abs(real)


_Rule = Callable[[Score, float, float], tuple[bool, bool]]
_RULES: dict[Better, _Rule] = {"lower": _lower, "higher": _higher, "as real": _as_real}
"""Whether a score reaches the real one, and whether it is near."""


def overlap(one: Interval | None, other: Interval) -> bool:
    """Return whether two intervals have a value in common; an unknown one has none."""
    return one is not None and one[0] <= other[1] and other[0] <= one[1]
