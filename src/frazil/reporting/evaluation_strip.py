"""Where a score lies between failure and real volumes: one small strip a row.

Noise stands at one place of every strip and real at another, so that a column of strips is read at a glance. Where noise
scores better than real volumes (it is far from every training box), it is no failure to measure from: such a strip spans
what there is, better to the right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from frazil.reporting.evaluation_numbers import number
from frazil.scores import Interval, Score

WIDTH, HEIGHT = 180, 28
NOISE_X, REAL_X = 14.0, 138.0
_FIRST, _LAST = 5.0, WIDTH - 5.0
_LARGEST_RATIO = 1000.0
_LOG_RATIO = 10.0
"""From this ratio of failure to real on, distances are drawn on a logarithm: else everything would lie close to real."""


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
    anchored : whether noise and real stand at `NOISE_X` and `REAL_X`.
    logarithmic : whether distances are drawn on a logarithm.
    alt : the same in words.
    """

    marks: tuple[Mark, ...]
    anchored: bool
    logarithmic: bool
    alt: str


@dataclass(frozen=True)
class _Axis:
    """Maps a value to pixels: `start` to `start_x`, `end` to `end_x`, straight or on a logarithm."""

    start: float
    end: float
    start_x: float
    end_x: float
    logarithmic: bool

    def x(self, value: float) -> float:
        start, end = self._scaled(self.start), self._scaled(self.end)
        return self.start_x + (self._scaled(value) - start) / (end - start) * (self.end_x - self.start_x)

    def _scaled(self, value: float) -> float:
        # on a logarithm nothing is better than real, at `end`, by more than the strip shows
        return math.log(max(value, self.end / _LARGEST_RATIO)) if self.logarithmic else value

    def mark(self, kind: str, value: float, interval: Interval | None = None) -> Mark:
        x = self.x(value)
        beyond = -1 if x < _FIRST else 1 if x > _LAST else 0
        band = None
        if interval is not None and not beyond:
            low, high = sorted(min(max(self.x(bound), _FIRST - 4), _LAST + 4) for bound in interval)
            band = (round(low, 1), round(high, 1))
        return Mark(kind, round(min(max(x, _FIRST), _LAST), 1), band, beyond)


def strip(score: Score) -> Strip | None:
    """Return the strip of `score`; None where there is no value, or nothing to hold it against."""
    if score.value is None or score.real is None:
        return None
    failure = score.noise if score.noise is not None else score.shuffled
    if failure is not None and _is_worse(score, failure):
        axis = _anchored_axis(score, failure)
        anchored = True
    else:
        spanning = _spanning_axis(score)
        if spanning is None:
            return None
        axis, anchored = spanning, False
    others = (
        ("noise", score.noise, None),
        ("shuffled", score.shuffled, None),
        ("real", score.real, score.real_interval),
    )
    marks = [axis.mark(kind, value, interval) for kind, value, interval in others if value is not None]
    if anchored:  # also where it lies beyond the end of a logarithm
        marks[-1] = Mark("real", REAL_X, marks[-1].band)
    # a control beyond the end tells nothing that its number does not tell
    shown = [mark for mark in marks if not mark.beyond]
    shown.append(axis.mark("generated", score.value, score.interval))
    return Strip(tuple(shown), anchored, axis.logarithmic, _alt(score))


def _is_worse(score: Score, failure: float) -> bool:
    """Tell whether `failure` is a failure: on the bad side of real volumes, and apart from them."""
    real = score.real or 0.0
    if score.real_interval is not None and score.real_interval[0] <= failure <= score.real_interval[1]:
        return False
    if math.isclose(failure, real, rel_tol=1e-6, abs_tol=1e-12):
        return False
    return {"lower": failure > real, "higher": failure < real, "as real": True}[score.better]


def _anchored_axis(score: Score, failure: float) -> _Axis:
    """Return the axis from failure to real volumes; a distance far below failure is drawn on a logarithm."""
    real = score.real or 0.0
    if score.better == "lower" and failure > 0:
        # unbiased distances may be zero or negative: what real ones may have by chance is as good
        reached = max(
            real, score.real_interval[1] if real <= 0 and score.real_interval else 0, failure / _LARGEST_RATIO
        )
        if failure / reached >= _LOG_RATIO:
            return _Axis(failure, reached, NOISE_X, REAL_X, logarithmic=True)
    return _Axis(failure, real, NOISE_X, REAL_X, logarithmic=False)


def _spanning_axis(score: Score) -> _Axis | None:
    """Return an axis over all values of the score, better to the right; None where they are all one."""
    values = [
        score.value,
        score.real,
        score.noise,
        score.shuffled,
        *(score.interval or ()),
        *(score.real_interval or ()),
    ]
    known = [value for value in values if value is not None]
    if score.better == "as real" and score.real is not None:
        # real in the middle; a fifth of it to either side, so that a small difference looks small
        reach = max(0.2 * abs(score.real), *(abs(value - score.real) for value in known))
        known = [score.real - reach, score.real + reach]
    low, high = min(known), max(known)
    if math.isclose(low, high, rel_tol=1e-6, abs_tol=1e-12):
        return None
    start, end = (high, low) if score.better == "lower" else (low, high)
    return _Axis(start, end, NOISE_X, _LAST - 9, logarithmic=False)


def _alt(score: Score) -> str:
    named = {"generated": score.value, "real": score.real, "noise": score.noise, "shuffled labels": score.shuffled}
    return ", ".join(f"{name} {number(value, score.unit)}" for name, value in named.items() if value is not None)
