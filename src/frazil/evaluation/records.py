"""The files of an evaluation, but its examples and its report.

DIR/metrics.json          scores, plots, close pairs, verdicts (`frazil.evaluation.scores.Evaluation`)
DIR/samples.csv           one row per generated volume: name, label, and numbers; the larger, the worse
DIR/stages/inputs.json    what is compared
DIR/stages/<name>.json    what a stage found, so that an interrupted evaluation can resume
DIR/stages/log.jsonl      seconds and memory of each stage; all else is the same whenever it is made
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from frazil.core.errors import SourceError
from frazil.core.folder import OutputFolder
from frazil.core.records import TiltRange
from frazil.evaluation.inputs.generated import Reading
from frazil.evaluation.scores import ClosePair, Evaluated, Evaluation, Plot, Score, StageCost
from frazil.io.tables import read_csv

METRICS_FILE = "metrics.json"
SAMPLES_FILE = "samples.csv"
EXAMPLES_FILE = "examples.npz"
REPORT_FILE = "report.html"
STAGE_FOLDER = "stages"
INPUTS_FILE = f"{STAGE_FOLDER}/inputs.json"
STAGE_LOG = f"{STAGE_FOLDER}/log.jsonl"

NAME, LABEL = "name", "label"  # columns of ``samples.csv`` that are not numbers


class EvaluationInputs(Evaluated):
    """What an evaluation compares: everything that decides what its stages find. `real` and `generated` name the folders.

    Without real boxes, `real` and its digest are empty.
    """

    kind: Literal["frazil evaluation inputs"] = "frazil evaluation inputs"
    real: str
    real_digest: str
    generated: str
    generated_digest: str
    curves_digest: str | None = None
    voxel_size_angstrom: float
    box_size_voxel: int
    tilt_range_degrees: TiltRange | None
    seed: int
    reading: Reading


class StageRecord(Evaluated):
    """What a stage of an evaluation found.

    Parameters
    ----------
    quick : found in a quarter of the time, and less of it; set when the stage is run.
    costs : of a stage that this process ran; kept in the log.
    per_sample : by name, a number of each generated volume; the larger, the worse. `frazil filter` may drop by it.
    """

    kind: Literal["frazil evaluation stage"] = "frazil evaluation stage"
    quick: bool = False
    scores: tuple[Score, ...] = ()
    plots: tuple[Plot, ...] = ()
    close_pairs: tuple[ClosePair, ...] = ()
    warnings: tuple[str, ...] = ()
    per_sample: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)
    costs: tuple[StageCost, ...] = Field((), exclude=True)


def evaluation_folder(folder: Path) -> OutputFolder[EvaluationInputs]:
    """Return the output folder of an evaluation."""
    stages = f"{STAGE_FOLDER}/[!i]*.json"  # all but the inputs
    owned = (METRICS_FILE, SAMPLES_FILE, EXAMPLES_FILE, REPORT_FILE, stages)
    return OutputFolder(folder, INPUTS_FILE, EvaluationInputs, owned)


def stage_file(folder: Path, name: str) -> Path:
    """Return where a stage keeps what it found."""
    return folder / STAGE_FOLDER / f"{name}.json"


def read_evaluation(folder: Path) -> Evaluation:
    """Read ``metrics.json`` of a folder."""
    return Evaluation.read(folder / METRICS_FILE, SourceError)


def read_samples(folder: Path) -> pd.DataFrame:
    """Read ``samples.csv``: columns ``name``, ``label``, and numbers, NaN where unknown."""
    table = read_csv(folder / SAMPLES_FILE, (NAME, LABEL), SourceError)
    numbers = {
        name: table.numbers(name, empty_allowed=True) for name in map(str, table.cells) if name not in (NAME, LABEL)
    }
    return pd.DataFrame({NAME: table.text(NAME), LABEL: table.text(LABEL), **numbers}).reset_index(drop=True)


def score_table(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """Return all scores, one per row, with the name of the generator in the first column."""
    rows = []
    for evaluation in evaluations:
        for score in evaluation.scores:
            row = {"generator": evaluation.name, **score.model_dump(exclude={"interval", "real_interval"})}
            for name in ("interval", "real_interval"):
                row[f"{name}_low"], row[f"{name}_high"] = getattr(score, name) or (None, None)
            rows.append(row)
    return pd.DataFrame(rows)
