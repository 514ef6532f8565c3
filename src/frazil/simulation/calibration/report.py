"""What a calibration tells: every statistic of the simulation beside the real one, as a table, as JSON and as curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.table import Table

from frazil.core.console import console, say_written
from frazil.core.files import write_json, write_text
from frazil.core.version import __version__
from frazil.plots.appearances import Series, appearance_page
from frazil.plots.page import save_figure
from frazil.simulation.calibration.fit import FALL_SCALE_DEX, KURTOSIS_SCALE, SKEW_SCALE, Piece
from frazil.simulation.calibration.fitted import FITTED, read_number
from frazil.simulation.preset import SimulationPreset
from frazil.volume.spectra import CURVES, Appearance, Curve, CurveName, appearance, distance_dex, mean_curve

SCHEMA_VERSION = 1
REPORT_FILE = "calibration.json"
CURVES_NAME = "calibration"
TOLERANCE_DEX = 0.10


@dataclass(frozen=True)
class Measured:
    """What is kept of a piece, real or simulated: its appearance, and its z-scored grey values.

    Parameters
    ----------
    fine_fall_dex : `frazil.simulation.calibration.fit.fine_fall` at the simulated voxel; NaN for real pieces.
    """

    appearance: Appearance
    grey_values: Float[np.ndarray, "z y x"]
    fine_fall_dex: float

    @classmethod
    def of(cls, volume: Float[np.ndarray, "z y x"], fine_fall_dex: float = math.nan) -> Measured:
        """Measure a piece."""
        return cls(appearance(volume), np.asarray((volume - volume.mean()) / volume.std()), fine_fall_dex)


@dataclass(frozen=True)
class Check:
    """One number of the report.

    Parameters
    ----------
    name : what is compared.
    difference : of the simulated mean from the real mean; of curves the mean absolute difference, dex.
    spread : standard deviation of `difference` among fresh simulations; None where there is only one.
    floor : the same number between the real pieces themselves; None where there is only one.
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


def check(
    real: Sequence[Measured], simulated: Sequence[Sequence[Measured]], *, fine_fall_dex: float | None = None
) -> list[Check]:
    """Compare real pieces with simulations of them.

    Parameters
    ----------
    simulated : for each fresh seed, the simulation of every piece.
    fine_fall_dex : what is known of the real fall of power at the simulated voxel.
    """
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
        own = [float(getattr(one.appearance, field)) for one in real]
        means = [np.mean([getattr(one.appearance, field) for one in group]) for group in simulated]
        differences = [float(mean - np.mean(own)) for mean in means]
        floor = [abs(one - other) for one, other in combinations(own, 2)]
        results.append(Check(name, float(np.mean(differences)), _spread(differences), _mean(floor), tolerance))
    if fine_fall_dex is not None:
        falls = [float(np.mean([one.fine_fall_dex for one in group])) - fine_fall_dex for group in simulated]
        name = f"fall of {fine_fall_dex:g} dex, fine voxel"
        results.append(Check(name, float(np.mean(falls)), _spread(falls), None, FALL_SCALE_DEX))
    return results


def write_report(
    out: Path,
    fitted: SimulationPreset,
    start: SimulationPreset,
    pieces: Sequence[Piece],
    simulated: Sequence[Sequence[Measured]],
    problem: Mapping[str, Any],
    *,
    fine_fall_dex: float | None = None,
) -> list[Check]:
    """Write preset, curves and report, print the table, and return its rows."""
    real = [Measured.of(piece.real) for piece in pieces]
    results = check(real, simulated, fine_fall_dex=fine_fall_dex)
    runs = ", ".join(piece.run for piece in pieces)
    path = out / f"{fitted.name}.toml"
    content = fitted.model_dump(mode="json", exclude={"name"}, exclude_none=True)
    write_text(path, f"# Fitted by frazil {__version__} calibrate to {runs}.\n\n{tomli_w.dumps(content)}")
    report = {
        "schema_version": SCHEMA_VERSION,
        "frazil_version": __version__,
        "problem": problem,
        "fitted": {one.key: {"start": read_number(start, one.key), "fitted": read_number(fitted, one.key)} for one in FITTED},
        "checks": [{**asdict(one), "passed": one.passed} for one in results],
    }  # fmt: skip
    write_json(out / REPORT_FILE, report)
    page = appearance_page(
        [_series("real", real), _series("simulated", [one for group in simulated for one in group])],
        voxel_size_angstrom=pieces[0].voxel_size_angstrom,
        caption=f"Lines: means. Shaded: range of {len(pieces)} real pieces ({runs}) and of {len(simulated)} simulations of each "
        "with seeds that the fit has not seen. Pieces are faded out at their edges.",
    )
    save_figure(page.figure, out / CURVES_NAME)
    _print_checks(results)
    say_written(path, "preset; frazil simulate --preset takes it")
    say_written(out / REPORT_FILE, "what was fitted, and how well")
    say_written(out / f"{CURVES_NAME}.png", "curves, real beside simulated; also as PDF")
    return results


def _series(name: str, group: Sequence[Measured]) -> Series:
    grey_values = np.concatenate([one.grey_values.ravel() for one in group])
    return Series(name, [one.appearance for one in group], grey_values)


def _curve(group: Sequence[Measured], name: CurveName) -> Curve:
    return mean_curve([one.appearance.curve(name) for one in group])


def _print_checks(results: Sequence[Check]) -> None:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("simulated\nagainst real", no_wrap=True)
    for name in ("differ-\nence", "spread,\nseeds", "floor, real\npieces", "toler-\nance", "ok"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in results:
        numbers = ["-" if number is None else f"{number:.2f}" for number in (one.difference, one.spread, one.floor)]
        table.add_row(one.name, *numbers, f"{one.tolerance:.2f}", "yes" if one.passed else "NO")
    console.print(table)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
