"""`frazil calibrate`: real tomograms with picks in; a simulation preset that looks like them, and a report, out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frazil.core.console import progress_bar, say, warn
from frazil.core.errors import MissingTomogramError, OutputError, SettingsError, SourceError
from frazil.core.files import make_folder, output_errors, write_text
from frazil.core.settings import SourceSettings
from frazil.core.version import __version__
from frazil.io.checks import check_name
from frazil.io.sources import Source, open_source
from frazil.simulation.calibration.fit import (
    Calibration,
    Piece,
    fine_fall,
    measured_piece,
    misfit,
    search,
)
from frazil.simulation.calibration.fitted import FITTED, read_number, with_numbers
from frazil.simulation.calibration.report import SCHEMA_VERSION, Check, Measured, write_report
from frazil.simulation.preset import SimulationPreset, load_simulation_preset
from frazil.simulation.tomogram import simulate_tomogram

EVALUATIONS_FILE = "evaluations.jsonl"


def calibrate(
    real: Path,
    out: Path,
    *,
    preset: str = "czii",
    name: str = "calibrated",
    source_settings: SourceSettings | None = None,
    runs: Sequence[str] = (),
    fine_fall_dex: float | None = None,
    evaluations: int = 400,
    replicates: int = 1,
    checks: int = 5,
    seed: int = 0,
    force: bool = False,
) -> list[Check]:
    """Fit acquisition and denoiser of a preset to real tomograms, check it on fresh simulations, and write both.

    Interrupted, the same call goes on where it stood: every evaluation is written down, and the search is the same each time.

    Parameters
    ----------
    real : annotated tomograms, in any form that `frazil.io.sources.open_source` opens.
    out : folder for the preset (``NAME.toml``), the report and its curves.
    preset : where the fit starts; what is not fitted is kept.
    runs : tomograms to fit to; empty takes all that have voxels and picks.
    fine_fall_dex : where real voxels are coarser than the simulated ones, and only then needed: how far the real in-plane
        power falls from 0.1 to 0.45 cycles per fine voxel, in dex, if that is known from elsewhere.
    evaluations : simulations that the search may make.
    replicates : simulations of each piece in the search.
    checks : simulations of each piece with fresh seeds, after the fit.
    force : begin anew.

    Raises
    ------
    SourceError : no voxels or no picks.
    OutputError : `out` holds something else.
    """
    check_name(name, "--name", SettingsError)
    for option, count in (("evaluations", evaluations), ("replicates", replicates), ("checks", checks)):
        if count < 1:
            raise SettingsError(f"--{option} {count}: nothing to do; ask for at least 1")
    if evaluations <= len(FITTED):
        warn(
            f"--evaluations {evaluations}: the search cannot even begin, its first simplex takes {len(FITTED) + 1}; "
            "a fit takes some hundreds"
        )
    start = load_simulation_preset(preset)
    pieces = read_pieces(open_source(real, source_settings or SourceSettings()), runs)
    for piece in pieces:
        z, y, x = piece.real.shape
        say(f"{piece.run}: {z} x {y} x {x} measured voxels of {piece.voxel_size_angstrom:.3f} A (z, y, x)")
    problem = _describe(pieces, start, seed, replicates, fine_fall_dex)
    make_folder(out)
    memory = _Memory(out / EVALUATIONS_FILE, problem, force=force)
    calibration = Calibration(pieces, start, seed=seed, replicates=replicates)
    numbers = _fit(calibration, memory, evaluations, fine_fall_dex)
    fitted = _round(with_numbers(start, numbers), name)
    fitted, simulated = _simulate_afresh(fitted, pieces, seed, checks)
    return write_report(out, fitted, start, pieces, simulated, problem, fine_fall_dex=fine_fall_dex)


def read_pieces(source: Source, runs: Sequence[str]) -> list[Piece]:
    """Return the measured pieces of the wanted runs with their picks.

    Raises
    ------
    SourceError : a wanted run that is not there, or no run with measured voxels.
    """
    picks = source.picks()
    known = sorted({some.run for some in picks})
    for run in runs:
        if run not in known:
            raise SourceError(f"{source.path}: no run {run} with picks; it has {', '.join(known) or 'none'}")
    pieces = []
    for run in runs or known:
        try:
            tomogram = source.read(run)
        except MissingTomogramError:
            if run in runs:
                raise
            continue
        found = measured_piece(tomogram)
        if found is None:
            continue
        start_voxel, volume = found
        own = tuple(some for some in picks if some.run == run)
        pieces.append(Piece(run, volume, tomogram.header.voxel_size_angstrom, start_voxel, own))
    if not pieces:
        raise SourceError(f"{source.path}: no run with measured voxels and picks; choose --level or --tomogram-type")
    return pieces


def _fit(calibration: Calibration, memory: _Memory, evaluations: int, fine_fall_dex: float | None) -> dict[str, float]:
    """Search the best numbers, with a progress bar; what an earlier call evaluated is not evaluated again."""
    with progress_bar() as bar:
        task = bar.add_task("calibrate", total=evaluations)
        lowest = np.inf

        def evaluate(numbers: dict[str, float]) -> float:
            nonlocal lowest
            value = memory.find(numbers)
            if value is None:
                value = misfit(
                    calibration.compare(with_numbers(calibration.preset, numbers)), fine_fall_dex=fine_fall_dex
                )
                memory.add(numbers, value)
            lowest = min(lowest, value)
            bar.update(task, advance=1, description=f"calibrate (misfit {lowest:.2f})")
            return value

        best = search(calibration.start_of(calibration.preset), evaluate, evaluations=evaluations)
        bar.update(task, total=bar.tasks[0].completed)
    return best


def _simulate_afresh(
    preset: SimulationPreset, pieces: Sequence[Piece], seed: int, checks: int
) -> tuple[SimulationPreset, list[list[Measured]]]:
    """Simulate every piece as `frazil simulate` does, with seeds that the fit has not seen; set the grey scale as well."""
    groups, scales = [], []
    with progress_bar() as bar:
        for number in bar.track(range(checks), description="check"):
            group = []
            for index, piece in enumerate(pieces):
                tomogram = simulate_tomogram(piece.preset(preset), seed + 1 + number, index, like=piece.likeness())
                volume = piece.cut(tomogram.denoised)
                scales.append(float(piece.real.std() / volume.std()))
                group.append(Measured.of(volume, fine_fall(piece.cut_fine(tomogram.denoised))))
            groups.append(group)
    grey_std = preset.grey_std * float(np.mean(scales))
    return preset.model_copy(update={"grey_std": float(f"{grey_std:.3g}")}), groups


def _round(preset: SimulationPreset, name: str) -> SimulationPreset:
    """Keep three digits of the fitted numbers: more would be noise, and a preset is read by people."""
    numbers = {fitted.key: float(f"{read_number(preset, fitted.key):.3g}") for fitted in FITTED}
    return with_numbers(preset, numbers).model_copy(update={"name": name})


def _describe(
    pieces: Sequence[Piece], start: SimulationPreset, seed: int, replicates: int, fine_fall_dex: float | None
) -> dict[str, Any]:
    """Return everything that the search depends on."""
    return {
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
        "replicates": replicates,
        "fine_fall_dex": fine_fall_dex,
    }


class _Memory:
    """The evaluations of a search on disk, one line each, after a first line that says what was searched."""

    def __init__(self, path: Path, problem: Mapping[str, Any], *, force: bool) -> None:
        self._path = path
        self._known: dict[str, float] = {}
        first = json.dumps({"schema_version": SCHEMA_VERSION, "problem": problem}, sort_keys=True)
        with output_errors(path):
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() and not force else []
        if not lines:
            write_text(path, first + "\n")
        elif lines[0] != first:
            raise OutputError(
                f"{path}: of a calibration to other tomograms or from another preset; pass --force to replace it"
            )
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                self._known[self._key(entry["numbers"])] = float(entry["misfit"])
            except (ValueError, KeyError, TypeError):
                continue  # cut off when an earlier call was killed: evaluated again

    def find(self, numbers: Mapping[str, float]) -> float | None:
        return self._known.get(self._key(numbers))

    def add(self, numbers: Mapping[str, float], value: float) -> None:
        self._known[self._key(numbers)] = value
        with output_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"numbers": dict(numbers), "misfit": value}) + "\n")

    @staticmethod
    def _key(numbers: Mapping[str, float]) -> str:
        return json.dumps(dict(numbers), sort_keys=True)
