"""How a score compares with real volumes: it *reaches* them, is *near* them, or falls *short*. See also docs/explanation/evaluation.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from frazil.evaluation.scores import Better, Interval, Score

Grade = Literal["reaches", "near", "short"]

REACH_FLOOR, NEAR_FLOOR = 2.0, 5.0
"""Limits of a distance, in multiples of the one between real training boxes and real held-out boxes."""

NEAR_FAILURE = 0.1
"""A distance is also near up to this share of the way from real to noise; for `_SQUARED` distances, after taking the root."""

_SQUARED = ("frechet_", "kid_")  # squared distances: a tenth of the way to noise would be a third of the distance

REACH_SHARE, NEAR_SHARE = 0.15, 0.4
"""How far off a number may be: share of the way from real to failure, or of the real number where that is the aim."""


def grade(score: Score) -> Grade | None:
    """Compare a score with real volumes; None where it or the real number is not measured.

    ``lower`` is better: *reaches* up to 2 times the real number, *near* up to 5 times, or up to a tenth of the way from real
    to noise. ``higher``: *reaches* within 15 % of the way from the real number to that of a failure (shuffled labels or noise,
    whichever is nearer to real; 0 where there is none), *near* within 40 %. ``as real``: the same shares of the real number.
    A near score whose interval overlaps the real one reaches. One that should be ``as real`` and overlaps it is at least near:
    where the real number is about 0, no share of it says anything.
    """
    if score.value is None or score.real is None:
        return None
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
