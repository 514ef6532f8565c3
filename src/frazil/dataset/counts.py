"""How many particles of each class were found, used and left out, and why: the paper's Table 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from frazil.dataset.particles import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

CZII_DIAMETER_ANGSTROM = {
    "apo-ferritin": 120.0,
    "beta-amylase": 130.0,
    "beta-galactosidase": 180.0,
    "ribosome": 300.0,
    "thyroglobulin": 260.0,
    "virus-like-particle": 270.0,
}
"""Sizes of the CZII particles (the paper's Table 1; twice the radius of the score), for sources that do not say."""


class ClassCount(BaseModel):
    """One class.

    Parameters
    ----------
    diameter_angstrom : size of the particle; None where it is not known.
    found : picks.
    used : boxes; in a plan, picks that are to be cut.
    left_out : reason -> picks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    diameter_angstrom: float | None
    found: int
    used: int
    left_out: dict[str, int]


def count_classes(
    particles: pd.DataFrame, labels: Sequence[str], radius_angstrom: Mapping[str, float] | None = None
) -> tuple[ClassCount, ...]:
    """Count picks by class and reason.

    Parameters
    ----------
    particles : with label and reason (`Reason`).
    labels : classes to count, also those without a pick.
    radius_angstrom : class -> radius, where the source says; the six CZII classes are known otherwise.
    """
    counts = []
    for label in labels:
        reasons = particles.loc[particles["label"] == label, "reason"].value_counts()
        left_out = {reason.value: int(reasons.get(reason.value, 0)) for reason in Reason if reason.value}
        radius = (radius_angstrom or {}).get(label)
        counts.append(
            ClassCount(
                label=label,
                diameter_angstrom=CZII_DIAMETER_ANGSTROM.get(label) if radius is None else 2 * radius,
                found=int(reasons.sum()),
                used=int(reasons.get(Reason.KEPT.value, 0)),
                left_out={reason: count for reason, count in left_out.items() if count},
            )
        )
    return tuple(counts)
