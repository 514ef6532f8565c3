"""Which volumes to keep when the worst are dropped, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from frazil.core.errors import RequestError

PREFERRED = ("typicality", "class doubt", "spectrum")
"""The first of these that is there decides, if the user names none: far from all that is real, of another class, of another texture."""


@dataclass(frozen=True)
class Selection:
    """What stays.

    Parameters
    ----------
    kept : `(n,)` True where a volume stays.
    limits : by class, the largest number that stays; None where none is known.
    unknown : volumes without a number; they stay.
    """

    kept: Bool[np.ndarray, "n"]
    limits: dict[str, float | None]
    unknown: int


def deciding_number(by: str | None, available: Sequence[str]) -> str:
    """Return the name of the number to drop by.

    Raises
    ------
    RequestError : it is not there, or there is none to choose.
    """
    if by is None:
        by = next((name for name in PREFERRED if name in available), None)
        if by is None:
            raise RequestError(
                f"none of {', '.join(PREFERRED)} was measured; evaluate with the stage features or physics"
                + (f", or pass --by {available[0]!r}" if available else "")
            )
    if by not in available:
        known = ", ".join(available) or "none"
        raise RequestError(
            f"--by {by!r}: not measured; there are {known}. Evaluate with more stages, or choose one of these"
        )
    return by


def keep_best(numbers: Float[np.ndarray, "n"], labels: np.ndarray, keep: float) -> Selection:
    """Keep a share of each class: those of the smallest numbers, rounded up to whole volumes.

    Class by class, because a class that is hard to generate would else lose most of its volumes, and the labels their balance.

    Parameters
    ----------
    numbers : larger is worse; volumes without one (NaN) stay.
    labels : `(n,)` classes.
    keep : share that stays, above 0 and at most 1.

    Raises
    ------
    RequestError : such a share cannot be, or no volume has a number.
    """
    if not 0 < keep <= 1:
        raise RequestError(f"--keep {keep:g}: the share that stays lies above 0 and is at most 1, e.g. 0.9")
    known = np.isfinite(numbers)
    if not known.any():
        raise RequestError("no volume has a number to be judged by; choose another with --by, or sample more")
    kept = ~known
    limits: dict[str, float | None] = {}
    for label in sorted({str(label) for label in labels}):
        own = np.flatnonzero((labels == label) & known)
        # 0.9 of 10 is 9, not 10: the product may come out a hair above
        wanted = math.ceil(round(keep * len(own), 9))
        best = own[np.argsort(numbers[own], kind="stable")[:wanted]]
        kept[best] = True
        limits[label] = float(numbers[best].max()) if len(best) else None
    return Selection(kept, limits, int((~known).sum()))


def said(by: str, keep: float, limits: Mapping[str, float | None]) -> str:
    """Return the rule in a sentence, for the receipt."""
    known = ", ".join(f"{label} {limit:.4g}" for label, limit in limits.items() if limit is not None)
    return f"of each class the {100 * keep:g} % with the smallest {by!r} stay (rounded up); the largest that stays: {known}"
