"""Which volumes `frazil filter` keeps: a share of each class, by a number of `samples.csv`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from frazil.core.errors import RequestError

PREFERRED = ("typicality", "class doubt", "spectrum")
"""The first of these that exists decides, if the user names none: far from all that is real, of another class, of another texture."""


def deciding_number(by: str | None, available: Sequence[str]) -> str:
    """Return the name of the number to filter by; `RequestError` if it does not exist, or there is none to choose."""
    if by is None:
        by = next((name for name in PREFERRED if name in available), None)
        if by is None:
            raise RequestError(
                f"none of {', '.join(PREFERRED)} was measured; evaluate with the stage features or physics"
                + (f", or pass --by {available[0]!r}" if available else "")
            )
    if by not in available:
        raise RequestError(
            f"--by {by!r}: not measured; choose among {', '.join(available) or 'none'}, or evaluate with more stages"
        )
    return by


def keep_best(numbers: Float[np.ndarray, "n"], labels: np.ndarray, keep: float) -> Bool[np.ndarray, "n"]:
    """Return which volumes are kept: of each class the share `keep` with the smallest numbers, rounded up to whole volumes.

    Class by class, because otherwise a class that is hard to generate would lose most of its volumes. Volumes without a number
    (NaN) are kept.
    """
    if not 0 < keep <= 1:
        raise RequestError(f"--keep {keep:g}: the share to keep must be above 0 and at most 1, e.g. 0.9")
    known = np.isfinite(numbers)
    if not known.any():
        raise RequestError("no volume has this number; choose another with --by, or sample more")
    kept = ~known
    for label in set(labels):
        own = np.flatnonzero((labels == label) & known)
        # 0.9 of 10 is 9, not 10: the product may come out slightly above
        wanted = math.ceil(round(keep * len(own), 9))
        kept[own[np.argsort(numbers[own], kind="stable")[:wanted]]] = True
    return np.asarray(kept)
