"""Where a score is between failure and real volumes: one small strip per row.

Failure is at one place of every strip and real at another, so that a column can be read at a glance. Where nothing failed,
because it was not measured or scores no worse than real volumes (noise is far from every training box), there is no strip.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from frazil.evaluation.report.numbers import number
from frazil.evaluation.scores import Interval, Score

WIDTH, HEIGHT = 180, 28
NOISE_X, REAL_X = 14.0, 138.0
_FIRST, _LAST = 5.0, WIDTH - 5.0
_LARGEST_RATIO = 1000.0
"""What is better than real, or closer to zero than failure, by more than this is not distinguished on a logarithm."""
_LOG_RATIO = 10.0
"""From this ratio of failure to real on, distances are drawn on a logarithm: otherwise everything would be close to real."""

Failure = Literal["noise", "shuffled"]


@dataclass(frozen=True)
class Mark:
    """A symbol on a strip and the `band` of its interval, in pixels; `beyond` is -1 or 1 where it is outside and drawn at the end."""

    kind: str
    x: float
    band: tuple[float, float] | None = None
    beyond: int = 0


@dataclass(frozen=True)
class Strip:
    """The symbols of a score in drawing order, `failure` at `NOISE_X`, real at `REAL_X`; `alt` says it in words."""

    marks: tuple[Mark, ...]
    failure: Failure
    logarithmic: bool
    alt: str


def strip(score: Score) -> Strip | None:
    """Return the strip of `score`; None where there is no value, or no failure to compare it with."""
    if score.value is None or score.real is None:
        return None
    kind: Failure = "noise" if score.noise is not None else "shuffled"
    failure = score.noise if score.noise is not None else score.shuffled
    if failure is None or not _is_worse(score, score.real, failure):
        return None
    scaled, logarithmic = _scale(score, score.real, score.value, failure)
    left, right = scaled(failure), scaled(score.real)

    def x(value: float) -> float:
        return NOISE_X + (scaled(value) - left) / (right - left) * (REAL_X - NOISE_X)

    def mark(kind: str, value: float, interval: Interval | None = None) -> Mark:
        place = x(value)
        beyond = -1 if place < _FIRST else 1 if place > _LAST else 0
        band = None
        if interval is not None and not beyond:
            low, high = sorted(min(max(x(bound), _FIRST - 4), _LAST + 4) for bound in interval)
            band = (round(low, 1), round(high, 1))
        return Mark(kind, round(min(max(place, _FIRST), _LAST), 1), band, beyond)

    controls = {"noise": score.noise, "shuffled": score.shuffled}
    marks = [mark(name, value) for name, value in controls.items() if value is not None]
    marks.append(mark("real", score.real, score.real_interval))
    # a control beyond the end says nothing that its number does not say
    shown = [*(one for one in marks if not one.beyond), mark("generated", score.value, score.interval)]
    named = {"generated": score.value, "real": score.real, "noise": score.noise, "shuffled labels": score.shuffled}
    alt = ", ".join(f"{name} {number(value, score.unit)}" for name, value in named.items() if value is not None)
    return Strip(tuple(shown), kind, logarithmic, alt)


def _is_worse(score: Score, real: float, failure: float) -> bool:
    """Return whether `failure` is a failure: on the bad side of real volumes, and apart from them."""
    low, high = score.real_interval or (real, real)
    if low <= failure <= high or math.isclose(failure, real, rel_tol=1e-6, abs_tol=1e-12):
        return False
    return {"lower": failure > real, "higher": failure < real, "as real": True}[score.better]


def _scale(score: Score, real: float, value: float, failure: float) -> tuple[Callable[[float], float], bool]:
    """Return how values are scaled, and whether on a logarithm: as a distance far below failure is."""
    if score.better == "lower" and failure > 0:
        chance = score.real_interval or (real, real)
        least = failure / _LARGEST_RATIO
        # unbiased distances may be zero or negative, which has no logarithm: their scale is what real ones have by chance
        zero_scale = max(least, *map(abs, chance)) if min(real, *chance, value) <= 0 or real < least else 0.0
        if failure / (zero_scale or real) >= _LOG_RATIO:
            if zero_scale:
                return lambda value: math.asinh(value / zero_scale), True
            return lambda value: math.log(max(value, real / _LARGEST_RATIO)), True
    return lambda value: value, False
