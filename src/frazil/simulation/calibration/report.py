"""What a calibration found: every statistic of the simulation next to the real one, as a record, a table and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from frazil.core.documents import Document
from frazil.plots.appearances import Series, appearance_page
from frazil.plots.page import Page
from frazil.simulation.calibration.fit import FALL_SCALE_DEX, KURTOSIS_SCALE, SKEW_SCALE, TOLERANCE_DEX
from frazil.simulation.calibration.pieces import Measured, Piece
from frazil.volume.spectra import CURVES, Curve, CurveName, distance_dex, mean_curve

RECORD_FILE = "calibration.json"


@dataclass(frozen=True)
class Check:
    """One number of the report.

    Parameters
    ----------
    difference : of the simulated mean from the real mean; for curves the mean absolute difference, dex.
    spread : standard deviation of `difference` among fresh simulations; None if there is only one.
    floor : the same number between the real pieces themselves; None if there is only one.
    tolerance : what it should stay within.
    """

    name: str
    difference: float
    spread: float | None
    floor: float | None
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within its tolerance."""
        return abs(self.difference) <= self.tolerance


class CalibrationRecord(Document):
    """`calibration.json`: what is fitted to what, and how well.

    Parameters
    ----------
    problem : everything that the search depends on.
    fitted : start and result of each number; empty before the search has ended.
    checks : the fields of `Check`, and whether it has passed.
    """

    written_by: ClassVar[str] = "frazil calibrate"

    schema_version: int = 1
    kind: str = "frazil calibration"
    problem: dict[str, Any]
    fitted: dict[str, dict[str, float]]
    checks: tuple[dict[str, Any], ...]


def check(
    real: Sequence[Measured], simulated: Sequence[Sequence[Measured]], *, fine_fall_dex: float | None = None
) -> list[Check]:
    """Compare real pieces with simulations of them, those of each fresh seed in one group; for `fine_fall_dex` see `misfit`."""
    everything = [one for group in simulated for one in group]
    results = []
    for what in CURVES:
        wanted = _curve(real, what)
        each = [distance_dex(_curve(group, what), wanted) for group in simulated]
        floor = [distance_dex(_curve([one], what), _curve([other], what)) for one, other in combinations(real, 2)]
        name = "missing wedge, dex" if what == "wedge" else f"power in {what}, dex"
        difference = distance_dex(_curve(everything, what), wanted)
        results.append(Check(name, difference, _spread(each), _mean(floor), TOLERANCE_DEX))
    for name, field, tolerance in (("skew", "skew", SKEW_SCALE), ("excess kurtosis", "kurtosis", KURTOSIS_SCALE)):
        own, *others = ([float(getattr(one.appearance, field)) for one in group] for group in (real, *simulated))
        differences = [float(np.mean(other) - np.mean(own)) for other in others]
        floor = [abs(one - other) for one, other in combinations(own, 2)]
        results.append(Check(name, float(np.mean(differences)), _spread(differences), _mean(floor), tolerance))
    if fine_fall_dex is not None:
        falls = [float(np.mean([one.fine_fall_dex for one in group])) - fine_fall_dex for group in simulated]
        name = f"fall of {fine_fall_dex:g} dex, fine voxel"
        results.append(Check(name, float(np.mean(falls)), _spread(falls), None, FALL_SCALE_DEX))
    return results


def curves_page(pieces: Sequence[Piece], real: Sequence[Measured], simulated: Sequence[Sequence[Measured]]) -> Page:
    """Draw the curves and gray values of the real pieces and of their simulations."""
    runs = ", ".join(piece.run for piece in pieces)
    groups = {"real": real, "simulated": [one for group in simulated for one in group]}
    return appearance_page(
        [
            Series(name, [one.appearance for one in group], np.concatenate([one.grey_values.ravel() for one in group]))
            for name, group in groups.items()
        ],
        voxel_size_angstrom=pieces[0].voxel_size_angstrom,
        caption=f"Lines: means. Shaded: range of {len(pieces)} real pieces ({runs}) and of {len(simulated)} simulations of each "
        "with seeds that the fit has not seen. Pieces are faded out at their edges.",
    )


def checks_table(checks: Sequence[Check]) -> Table:
    """Return the checks as they are printed."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("simulated\nagainst real", no_wrap=True)
    for name in ("differ-\nence", "spread,\nseeds", "floor, real\npieces", "toler-\nance", "ok"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in checks:
        numbers = ["-" if number is None else f"{number:.2f}" for number in (one.difference, one.spread, one.floor)]
        table.add_row(one.name, *numbers, f"{one.tolerance:.2f}", "yes" if one.passed else "NO")
    return table


def _curve(group: Sequence[Measured], name: CurveName) -> Curve:
    return mean_curve([one.appearance.curve(name) for one in group])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
