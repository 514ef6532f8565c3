"""`frazil calibrate`: real tomograms with picks in; a simulation preset that looks like them, and a report, out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tomli_w

from frazil.core.console import console, progress_bar, say, say_written, warn
from frazil.core.documents import differences
from frazil.core.errors import SettingsError
from frazil.core.files import output_errors, write_text
from frazil.core.folder import OutputFolder
from frazil.core.ledger import enter
from frazil.core.settings import SourceSettings
from frazil.core.version import __version__
from frazil.io.checks import check_name
from frazil.io.sources import open_source
from frazil.plots.page import save_figure
from frazil.simulation.calibration.fit import FITTED, PreparedPiece, misfit, read_numbers, search, with_numbers
from frazil.simulation.calibration.pieces import Measured, Piece, read_pieces
from frazil.simulation.calibration.report import RECORD_FILE, CalibrationRecord, Check, check, checks_table, curves_page
from frazil.simulation.preset import SimulationPreset, load_simulation_preset
from frazil.simulation.tomogram import simulate_tomogram

EVALUATIONS_FILE = "evaluations.jsonl"
_CURVES_NAME = "calibration"


def calibrate(
    real: str | Path,
    out: str | Path,
    *,
    preset: SimulationPreset | str | Path = "czii",
    name: str = "calibrated",
    source_settings: SourceSettings | None = None,
    runs: Sequence[str] = (),
    fine_fall_dex: float | None = None,
    evaluations: int = 400,
    checks: int = 5,
    seed: int = 0,
    force: bool = False,
) -> list[Check]:
    """Fit acquisition and denoiser of a preset to real tomograms, check it on fresh simulations, and write both.

    If it is interrupted, the same call resumes: every evaluation is written down, and the search is the same each time.

    Parameters
    ----------
    real : annotated tomograms, in any form that `frazil.io.sources.open_source` opens.
    out : folder for the preset (``NAME.toml``), the report and its curves.
    preset : where the fit starts; what is not fitted is kept.
    runs : tomograms to fit to; empty takes all that have voxels and picks.
    fine_fall_dex : where real voxels are coarser than the simulated ones, and only then needed: how far the real in-plane
        power falls from 0.1 to 0.45 cycles per fine voxel, in dex, if that is known from elsewhere.
    evaluations : simulations that the search may make.
    checks : simulations of each piece with fresh seeds, after the fit.
    force : start over where `out` holds another calibration.

    Raises
    ------
    SettingsError : a value that makes no sense.
    SourceError : no voxels or no picks.
    OutputError : `out` holds something else.
    """
    check_name(name, "name", SettingsError)
    for option, number in (("evaluations", evaluations), ("checks", checks)):
        if number < 1:
            raise SettingsError(f"{option} {number}: nothing to do; ask for at least 1")
    if evaluations <= len(FITTED):
        warn(
            f"evaluations {evaluations}: too few to begin a search, whose first simplex takes {len(FITTED) + 1}; "
            "a fit takes some hundreds"
        )
    start = load_simulation_preset(preset)
    real, out = Path(real), Path(out)
    pieces = read_pieces(open_source(real, source_settings or SourceSettings()), runs)
    for piece in pieces:
        z, y, x = piece.real.shape
        say(f"{piece.run}: {z} x {y} x {x} measured voxels of {piece.voxel_size_angstrom:.3f} A (z, y, x)")
    problem = {
        "frazil_version": __version__,
        "pieces": [
            {
                "run": piece.run,
                "shape_voxel": list(piece.real.shape),
                "start_voxel": list(piece.start_voxel),
                "voxel_size_angstrom": piece.voxel_size_angstrom,
                "digest": hashlib.sha256(piece.real.tobytes()).hexdigest(),
                "picks": {some.label: len(some) for some in piece.picks},
            }
            for piece in pieces
        ],
        "start": start.model_dump(mode="json"),
        "seed": seed,
        "fine_fall_dex": fine_fall_dex,
    }
    record = CalibrationRecord(problem=problem, fitted={}, checks=())
    owns = (EVALUATIONS_FILE, f"{name}.toml", *(f"{_CURVES_NAME}.{suffix}" for suffix in ("png", "pdf")))
    folder = OutputFolder(out, RECORD_FILE, CalibrationRecord, owns)
    with folder.held():
        work, _ = folder.begin(
            record, force=force, compare=lambda old, new: differences(old, new, ("fitted", "checks"))
        )
        work.check()
        prepared = [PreparedPiece(piece, start, seed) for piece in pieces]
        numbers = _fit(prepared, start, work.path / EVALUATIONS_FILE, evaluations, fine_fall_dex)
        # Three digits: more would be noise, and a preset is read by people.
        rounded = {key: float(f"{value:.3g}") for key, value in read_numbers(with_numbers(start, numbers)).items()}
        fitted = with_numbers(start, rounded).model_copy(update={"name": name})
        fitted, simulated = simulate_afresh(fitted, pieces, seed, checks)
        measured = [Measured.of(piece.real) for piece in pieces]
        results = check(measured, simulated, fine_fall_dex=fine_fall_dex)
        content = tomli_w.dumps(fitted.model_dump(mode="json", exclude={"name"}, exclude_none=True))
        runs_fitted = ", ".join(piece.run for piece in pieces)
        write_text(
            work.path / f"{name}.toml", f"# Fitted by frazil {__version__} calibrate to {runs_fitted}.\n\n{content}"
        )
        save_figure(curves_page(pieces, measured, simulated).figure, work.path / _CURVES_NAME)
        before, after = read_numbers(start), read_numbers(fitted)
        changes = {key: {"start": before[key], "fitted": after[key]} for key in before}
        rows = tuple({**asdict(one), "passed": one.passed} for one in results)
        record.model_copy(update={"fitted": changes, "checks": rows}).write(work.record_path)
        work.finish()
    console.print(checks_table(results))
    say_written(out / f"{name}.toml", "preset for frazil simulate --preset")
    say_written(folder.record_path, "what was fitted, and how well")
    say_written(out / f"{_CURVES_NAME}.png", "curves, real and simulated; also as PDF")
    return results


def simulate_afresh(
    preset: SimulationPreset, pieces: Sequence[Piece], seed: int, checks: int
) -> tuple[SimulationPreset, list[list[Measured]]]:
    """Simulate every piece as `frazil simulate` does, with seeds that the fit has not seen; set the gray scale as well."""
    groups, scales = [], []
    with progress_bar() as bar:
        for number in bar.track(range(checks), description="check"):
            group = []
            for index, piece in enumerate(pieces):
                tomogram = simulate_tomogram(preset, seed + 1 + number, index, like=piece.likeness())
                scales.append(float(piece.real.std() / piece.cut(tomogram.denoised).std()))
                group.append(piece.measure_simulated(tomogram.denoised))
            groups.append(group)
    grey_std = preset.grey_std * float(np.mean(scales))
    return preset.model_copy(update={"grey_std": float(f"{grey_std:.3g}")}), groups


def _fit(
    prepared: Sequence[PreparedPiece],
    start: SimulationPreset,
    memory: Path,
    evaluations: int,
    fine_fall_dex: float | None,
) -> dict[str, float]:
    """Return the best numbers. What `memory` holds, one evaluation per line, is not evaluated again."""
    with progress_bar() as bar, output_errors(memory), memory.open("a", encoding="utf-8") as file:
        enter(memory, memory, log=True)
        text = memory.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):  # an earlier call was killed
            file.write("\n")
        known: dict[str, float] = {}
        for line in text.splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a line that was cut off: evaluated again
                entry = json.loads(line)
                known[json.dumps(entry["numbers"], sort_keys=True)] = float(entry["misfit"])
        task = bar.add_task("calibrate", total=evaluations)
        lowest = np.inf

        def evaluate(numbers: dict[str, float]) -> float:
            nonlocal lowest
            key = json.dumps(numbers, sort_keys=True)
            if key not in known:
                preset = with_numbers(start, numbers)
                known[key] = misfit([piece.compare(preset) for piece in prepared], fine_fall_dex=fine_fall_dex)
                file.write(json.dumps({"numbers": numbers, "misfit": known[key]}) + "\n")
                file.flush()
            lowest = min(lowest, known[key])
            bar.update(task, advance=1, description=f"calibrate (misfit {lowest:.2f})")
            return known[key]

        best = search(read_numbers(start), evaluate, evaluations=evaluations)
        bar.update(task, total=bar.tasks[0].completed)
    return best
