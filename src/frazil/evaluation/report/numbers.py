"""Numbers as people read them: three figures, a true minus, and never ``nan``."""

from __future__ import annotations

import math

from frazil.evaluation.scores import Interval

MISSING = "–"  # stands where nothing was measured

_FIGURES = 3
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def decimals_of(*values: float | None) -> int:
    """Return the decimals that give the largest of `values` three figures."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return max(0, _FIGURES - 1 - math.floor(math.log10(largest))) if largest else 0


def number(value: float | None, unit: str = "", *, decimals: int | None = None) -> str:
    """Return `value` with its unit, a dash where it is None; three figures in all without `decimals`."""
    if value is None:
        return MISSING
    decimals = decimals_of(value) if decimals is None else decimals
    if decimals > 5:
        mantissa, power = f"{value:.1e}".split("e")
        text = f"{mantissa}\u202f×\u202f10{str(int(power)).translate(_SUPERSCRIPT)}"
    else:
        text = f"{value:,.{decimals}f}".replace(",", "\u202f")
    if not text.strip("-0.\u202f"):
        text = text.lstrip("-")
    return (f"{text}\u202f{unit}" if unit else text).replace("-", "−")


def interval(bounds: Interval | None, *, decimals: int) -> str:
    """Return ``low to high``, or nothing."""
    return " to ".join(number(bound, decimals=decimals) for bound in bounds or ())
