"""What a stage of an evaluation is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from frazil.core.records import TiltRange
from frazil.dataset.slices import RealSlices
from frazil.evaluation.metrics.embeddings import Embedding
from frazil.evaluation.volumes import Sets

OnStep = Callable[[float], None]
"""Called with the share of the work that is done, 0 to 1."""


def ignore(share: float) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Material:
    """What a stage may look at.

    Parameters
    ----------
    tilt_range_degrees : of the tomograms; None where it is not known.
    curves : of real slices, for the stage that compares with them.
    quick : take a quarter of the time and say less, where a stage can.
    """

    sets: Sets
    tilt_range_degrees: TiltRange | None = None
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    quick: bool = False
    curves: RealSlices | None = None


def count_steps(on_step: OnStep, total: float) -> Callable[[float], None]:
    """Return a function that takes each number of steps done, out of `total`, and passes the share to `on_step`."""
    done = 0.0

    def advance(count: float) -> None:
        nonlocal done
        done += count
        on_step(min(done / total, 1.0))

    return advance
