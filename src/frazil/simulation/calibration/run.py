"""`frazil calibrate`: real data in; a simulation preset that looks like them, and a report, out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tomli_w
from jaxtyping import Float

from frazil.core.console import progress_bar, say, say_table, say_written, warn
from frazil.core.documents import differences
from frazil.core.errors import SettingsError
from frazil.core.files import output_errors, write_text
from frazil.core.folder import OutputFolder
from frazil.core.ledger import enter
from frazil.core.settings import SourceSettings, check_number, check_seed
from frazil.core.version import __version__
from frazil.dataset.slices import read_real_slices
from frazil.io.checks import check_name
from frazil.io.sources import open_source
from frazil.plots.page import save_figure
from frazil.simulation.calibration.fit import FITTED, read_numbers, search, with_masses, with_numbers
from frazil.simulation.calibration.goals import Check, Goal, Outcome
from frazil.simulation.calibration.pieces import PieceGoal, read_pieces
from frazil.simulation.calibration.report import RECORD_FILE, CalibrationRecord, checks_table
from frazil.simulation.calibration.slices import SliceGoal
from frazil.simulation.preset import SimulationPreset, load_simulation_preset

EVALUATIONS_FILE = "evaluations.jsonl"
_CURVES_NAME = "calibration"


def calibrate(
    real: str | Path | None,
    out: str | Path,
    *,
    slices: Sequence[str | Path] = (),
    preset: SimulationPreset | str | Path = "czii",
    name: str = "calibrated",
    source_settings: SourceSettings | None = None,
    runs: Sequence[str] = (),
    evaluations: int = 200,
    checks: int = 5,
    seed: int = 0,
    force: bool = False,
) -> list[Check]:
    """Fit acquisition, denoiser, and contrast of the classes of a preset to real data, check it on fresh simulations, and write both.

    If it is interrupted, the same call resumes: every evaluation is written down, and the search is the same each time.

    Parameters
    ----------
    real : annotated tomograms, in any form that `frazil.io.sources.open_source` opens; None if there are only slices.
    out : folder for the preset (``NAME.toml``), the report and its curves.
    slices : files of measured curves or central slices of real subtomograms, or folders of volumes
        (`frazil.dataset.slices.read_real_slices`), each at its own voxel size. All count as much as the tomograms.
    preset : where the fit starts; what is not fitted is kept.
    runs : tomograms to fit to; empty takes all that have voxels and picks.
    evaluations : sets of simulations that the search may make.
    checks : sets of simulations with fresh seeds, after the fit.
    force : start over where `out` holds another calibration.

    Raises
    ------
    SettingsError : a value that makes no sense, or nothing to fit to.
    SourceError : no voxels, no picks, or files that are neither slices nor curves.
    OutputError : `out` holds something else.
    """
    check_name(name, "name", SettingsError)
    check_seed(seed, SettingsError)
    for option, number in (("evaluations", evaluations), ("checks", checks)):
        check_number(option, number, SettingsError)
    searches = evaluations > len(FITTED)
    if not searches:
        warn(
            f"evaluations {evaluations}: too few to begin a search, whose first step takes {len(FITTED) + 1}; "
            "a fit takes some hundreds"
        )
    start, out = load_simulation_preset(preset), Path(out)
    chosen = source_settings or SourceSettings()
    pieces = [] if real is None else read_pieces(open_source(Path(real), chosen), runs)
    for piece in pieces:
        z, y, x = piece.real.shape
        say(f"{piece.run}: {z} x {y} x {x} measured voxels of {piece.voxel_size_angstrom:.3f} A (z, y, x)")
    goals: list[Goal] = [PieceGoal(pieces, start, seed)] if pieces else []
    voxel_size_angstrom = chosen.voxel_size_angstrom if real is None else None  # next to tomograms it is theirs
    goals += [
        SliceGoal(read_real_slices(Path(file), voxel_size_angstrom=voxel_size_angstrom), start, seed) for file in slices
    ]
    if not goals:
        raise SettingsError("nothing to fit to; give annotated tomograms (real), slices, or both")
    problem = {
        "frazil_version": __version__,
        "goals": [goal.problem() for goal in goals],
        "start": start.model_dump(mode="json"),
        "seed": seed,
    }
    record = CalibrationRecord(problem=problem, fitted={}, checks=())
    figures = [_CURVES_NAME if number == 0 else f"{_CURVES_NAME}-{number + 1}" for number in range(len(goals))]
    owns = (EVALUATIONS_FILE, f"{name}.toml", f"{_CURVES_NAME}*.png", f"{_CURVES_NAME}*.pdf")
    folder = OutputFolder(out, RECORD_FILE, CalibrationRecord, owns)
    asked = {"name": name, "evaluations": evaluations, "checks": checks}
    with folder.held():
        earlier = folder.earlier(record, force=force, compare=_differences)
        if earlier is not None and earlier.checks and earlier.asked == asked and not folder.check():
            say(f"{out}: calibrated already; nothing to do")
            return earlier.results()
        for goal in goals:
            goal.build()
        work, _ = folder.begin(record, force=force, compare=_differences)
        work.check()
        numbers = _fit(goals, start, work.path / EVALUATIONS_FILE, evaluations)
        # Three digits: more would be noise, and a preset is read by people.
        rounded = {key: float(f"{value:.3g}") for key, value in read_numbers(with_numbers(start, numbers)).items()}
        seen = (start.calibrated_on or {}) | {piece.tomogram_digest: piece.voxel_size_angstrom for piece in pieces}
        fitted = with_numbers(start, rounded).model_copy(update={"name": name, "calibrated_on": seen or None})
        with_voxels = [goal for goal in goals if isinstance(goal, PieceGoal) and searches]
        masses = {label: pair for goal in with_voxels for label, pair in goal.masses_kda(fitted).items()}
        fitted = with_masses(fitted, {label: fit for label, (_, fit) in masses.items()})
        outcomes = _check(goals, fitted, seed, checks)
        scales = [outcome.grey_scale for outcome in outcomes if outcome.grey_scale is not None]
        if scales:
            grey_std = float(f"{fitted.grey_std * float(np.mean(scales)):.3g}")
            fitted = fitted.model_copy(update={"grey_std": grey_std})
        results = [one for outcome in outcomes for one in outcome.checks]
        content = tomli_w.dumps(fitted.model_dump(mode="json", exclude={"name"}, exclude_none=True))
        aims = "; ".join(goal.name for goal in goals)
        write_text(work.path / f"{name}.toml", f"# Fitted by frazil {__version__} calibrate to {aims}.\n\n{content}")
        for outcome, figure in zip(outcomes, figures, strict=True):
            save_figure(outcome.page.figure, work.path / figure)
        before, after = read_numbers(start), read_numbers(fitted)
        changes = {key: {"start": before[key], "fitted": after[key]} for key in before}
        rows = tuple({**asdict(one), "passed": one.passed} for one in results)
        changes |= {f"mass of {label}, kDa": {"start": first, "fitted": fit} for label, (first, fit) in masses.items()}
        record.model_copy(update={"fitted": changes, "checks": rows, "asked": asked}).write(work.record_path)
        work.finish()
    say_table(checks_table(results), "checks", rows)
    say_written(out / f"{name}.toml", "preset for frazil simulate --preset")
    say_written(folder.record_path, "what was fitted, and how well")
    for figure, goal in zip(figures, goals, strict=True):
        say_written(out / f"{figure}.png", f"curves of {goal.name}, real and simulated; also as PDF")
    return results


def _differences(old: CalibrationRecord, new: CalibrationRecord) -> list[str]:
    return differences(old, new, ("fitted", "checks", "asked"))


def _check(goals: Sequence[Goal], preset: SimulationPreset, seed: int, checks: int) -> list[Outcome]:
    """Compare with fresh simulations, whose seeds the fit has not seen."""
    with progress_bar() as bar:
        task = bar.add_task("check", total=checks * len(goals))

        def seeds() -> Iterator[int]:
            for number in range(checks):
                yield seed + 1 + number
                bar.advance(task)

        return [goal.check(preset, seeds()) for goal in goals]


def _fit(goals: Sequence[Goal], start: SimulationPreset, memory: Path, evaluations: int) -> dict[str, float]:
    """Return the best numbers. What `memory` holds, one evaluation per line, is not evaluated again."""
    with progress_bar() as bar, output_errors(memory), memory.open("a", encoding="utf-8") as file:
        enter(memory, memory, log=True)
        text = memory.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):  # an earlier call was killed
            file.write("\n")
        known: dict[str, Float[np.ndarray, "n"]] = {}
        for line in text.splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a line that was cut off: evaluated again
                entry = json.loads(line)
                known[json.dumps(entry["numbers"], sort_keys=True)] = np.array(entry["differences"], dtype=np.float64)
        task = bar.add_task("calibrate", total=evaluations)
        lowest = np.inf

        def evaluate(numbers: dict[str, float]) -> Float[np.ndarray, "n"]:
            nonlocal lowest
            key = json.dumps(numbers, sort_keys=True)
            if key not in known:
                preset = with_numbers(start, numbers)
                known[key] = np.concatenate([goal.differences(preset) for goal in goals])
                file.write(json.dumps({"numbers": numbers, "differences": known[key].tolist()}) + "\n")
                file.flush()
            lowest = min(lowest, float(np.square(known[key]).sum()))
            bar.update(task, advance=1, description=f"calibrate (misfit {lowest:.1f})")
            return known[key]

        best = search(read_numbers(start), evaluate, evaluations=evaluations)
        bar.update(task, total=bar.tasks[0].completed)
    return best
