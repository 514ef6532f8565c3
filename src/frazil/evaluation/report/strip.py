"""Where a score lies between failure and real volumes: one small strip a row.

Failure stands at one place of every strip and real at another, so that a column of strips is read at a glance. Where nothing
failed, since it was not measured or scores no worse than real volumes (noise is far from every training box), a picture would
only say how far its own ends are apart: such a row has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from frazil.evaluation.report.numbers import number
from frazil.evaluation.scores import Interval, Score

WIDTH, HEIGHT = 180, 28
NOISE_X, REAL_X = 14.0, 138.0
_FIRST, _LAST = 5.0, WIDTH - 5.0
_LARGEST_RATIO = 1000.0
"""What is better than real, or closer to zero than failure, by more than this is not told apart on a logarithm."""
_LOG_RATIO = 10.0
"""From this ratio of failure to real on, distances are drawn on a logarithm: else everything would lie close to real."""

Failure = Literal["noise", "shuffled"]


@dataclass(frozen=True)
class Mark:
    """A symbol on a strip, pixels from its left end.

    Parameters
    ----------
    kind : ``generated``, ``real``, ``noise`` or ``shuffled``; each has its own symbol.
    band : ends of its interval.
    beyond : -1 or 1 where it lies outside the strip and is drawn at the end.
    """

    kind: str
    x: float
    band: tuple[float, float] | None = None
    beyond: int = 0


@dataclass(frozen=True)
class Strip:
    """All symbols of a score.

    Parameters
    ----------
    marks : drawn in this order.
    failure : what stands at `NOISE_X`; real stands at `REAL_X`.
    logarithmic : whether distances are drawn on a logarithm.
    alt : the same in words.
    """

    marks: tuple[Mark, ...]
    failure: Failure
    logarithmic: bool
    alt: str


@dataclass(frozen=True)
class _Axis:
    """Maps a value to pixels: `failure` to `NOISE_X`, `real` to `REAL_X`.

    Parameters
    ----------
    logarithmic : else straight.
    zero_scale : on a logarithm, values below it, and negative ones, are drawn straight; 0 where all are far from zero.
    """

    failure: float
    real: float
    logarithmic: bool = False
    zero_scale: float = 0.0

    def x(self, value: float) -> float:
        failure, real = self._scaled(self.failure), self._scaled(self.real)
        return NOISE_X + (self._scaled(value) - failure) / (real - failure) * (REAL_X - NOISE_X)

    def _scaled(self, value: float) -> float:
        if not self.logarithmic:
            return value
        if self.zero_scale:
            return math.asinh(value / self.zero_scale)
        return math.log(max(value, self.real / _LARGEST_RATIO))

    def mark(self, kind: str, value: float, interval: Interval | None = None) -> Mark:
        x = self.x(value)
        beyond = -1 if x < _FIRST else 1 if x > _LAST else 0
        band = None
        if interval is not None and not beyond:
            low, high = sorted(min(max(self.x(bound), _FIRST - 4), _LAST + 4) for bound in interval)
            band = (round(low, 1), round(high, 1))
        return Mark(kind, round(min(max(x, _FIRST), _LAST), 1), band, beyond)


def strip(score: Score) -> Strip | None:
    """Return the strip of `score`; None where there is no value, or no failure to hold it against."""
    if score.value is None or score.real is None:
        return None
    kind: Failure = "noise" if score.noise is not None else "shuffled"
    failure = score.noise if score.noise is not None else score.shuffled
    if failure is None or not _is_worse(score, failure):
        return None
    axis = _axis(score, failure)
    others = (
        ("noise", score.noise, None),
        ("shuffled", score.shuffled, None),
        ("real", score.real, score.real_interval),
    )
    marks = [axis.mark(name, value, interval) for name, value, interval in others if value is not None]
    # a control beyond the end tells nothing that its number does not tell
    shown = [mark for mark in marks if not mark.beyond]
    shown.append(axis.mark("generated", score.value, score.interval))
    return Strip(tuple(shown), kind, axis.logarithmic, _alt(score))


def _is_worse(score: Score, failure: float) -> bool:
    """Tell whether `failure` is a failure: on the bad side of real volumes, and apart from them."""
    real = score.real or 0.0
    if score.real_interval is not None and score.real_interval[0] <= failure <= score.real_interval[1]:
        return False
    if math.isclose(failure, real, rel_tol=1e-6, abs_tol=1e-12):
        return False
    return {"lower": failure > real, "higher": failure < real, "as real": True}[score.better]


def _axis(score: Score, failure: float) -> _Axis:
    """Return the axis from failure to real volumes; a distance far below failure is drawn on a logarithm."""
    real, value = score.real or 0.0, score.value or 0.0
    if score.better == "lower" and failure > 0:
        chance = score.real_interval or (real, real)
        least = failure / _LARGEST_RATIO
        # unbiased distances may be zero or negative, which has no logarithm: their scale is what real ones have by chance
        zero_scale = max(least, *map(abs, chance)) if min(real, *chance, value) <= 0 or real < least else 0.0
        if failure / (zero_scale or real) >= _LOG_RATIO:
            return _Axis(failure, real, logarithmic=True, zero_scale=zero_scale)
    return _Axis(failure, real)


def _alt(score: Score) -> str:
    named = {"generated": score.value, "real": score.real, "noise": score.noise, "shuffled labels": score.shuffled}
    return ", ".join(f"{name} {number(value, score.unit)}" for name, value in named.items() if value is not None)
