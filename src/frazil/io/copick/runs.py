"""Runs that a command writes into a copick project of its own: each is made apart and moved into place when it is whole.

A run has a record, `tomogram.json`, which names its files; so any number of processes can work on one project.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from frazil.core.errors import OutputError
from frazil.core.files import output_errors, write_json
from frazil.core.ledger import enter, move_files, remove_own
from frazil.core.reading import read_json
from frazil.core.settings import Settings

RUNS_FOLDER = "ExperimentRuns"
RUN_FILE = "tomogram.json"
MRC_FOLDER = "mrc"


class WrittenRun(Settings):
    """Base of the record of a run; `files` are what was written of it, relative to the project."""

    files: tuple[str, ...]


Record = TypeVar("Record", bound=WrittenRun)


@contextmanager
def run_scratch(root: Path, run: str) -> Iterator[Path]:
    """Yield a folder like a project for `run` to be written in, with `finish_run` at the end; it is removed in any case."""
    scratch = root / f".{run}.{os.getpid()}.partial"
    try:
        with output_errors(root / RUNS_FOLDER / run):
            scratch.mkdir()
            yield scratch
    finally:
        remove_own(scratch)


def finish_run(root: Path, run: str, scratch: Path, record: WrittenRun) -> None:
    """Write the record of a run, and move the run into the project."""
    final, run_folder = root / RUNS_FOLDER / run, scratch / RUNS_FOLDER / run
    write_json(run_folder / RUN_FILE, record.model_dump(mode="json"))
    final.parent.mkdir(exist_ok=True)
    if final.exists():  # a run that lost a file; others may have put picks of their own there
        (final / RUN_FILE).unlink(missing_ok=True)
        move_files(run_folder, final, last=RUN_FILE)
    else:
        enter(final, run_folder)
        run_folder.replace(final)


def finished_runs(root: Path, kind: type[Record]) -> dict[str, Record]:
    """Return the records of the runs of which every file is there, by name."""
    found: dict[str, Record] = {}
    with output_errors(root):
        for path in sorted(root.glob(f"{RUNS_FOLDER}/*/{RUN_FILE}")):
            try:
                record = kind.model_validate(read_json(path, OutputError))
            except (OutputError, ValidationError):
                continue  # damaged: made again
            if all((root / place).exists() for place in record.files):
                found[path.parent.name] = record
    return found
