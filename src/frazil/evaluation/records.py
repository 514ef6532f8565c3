"""What an evaluation leaves on disk: `metrics.json`, `samples.csv`, and one file a finished stage.

DIR/metrics.json          scores, plots, close pairs, verdicts (`frazil.evaluation.scores.Evaluation`)
DIR/samples.csv           one row a generated volume: name, label, and numbers of which larger is worse
DIR/stages/<name>.json    what a stage found, so that an interrupted evaluation goes on
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from frazil.core.errors import SourceError
from frazil.core.files import read_json, write_json, write_text
from frazil.evaluation.scores import SCHEMA_VERSION, ClosePair, Evaluation, Plot, Score, StageCost
from frazil.io.tables import read_csv

METRICS_FILE = "metrics.json"
SAMPLES_FILE = "samples.csv"
EXAMPLES_FILE = "examples.npz"
REPORT_FILE = "report.html"
STAGE_FOLDER = "stages"

NAME, LABEL = "name", "label"


class StageRecord(BaseModel):
    """What a stage of an evaluation found, as it is written.

    Parameters
    ----------
    input_digest : of everything that the result depends on; set when the stage is run, like `quick` and `costs`.
    quick : found in a quarter of the time, and less of it.
    per_sample : numbers of each generated volume by name, larger is worse: what `frazil filter` may drop by. None where unknown.
    costs : of the stage itself, and of what it had to make first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: int = SCHEMA_VERSION
    kind: Literal["frazil evaluation stage"] = "frazil evaluation stage"
    input_digest: str = ""
    quick: bool = False
    scores: tuple[Score, ...] = ()
    plots: tuple[Plot, ...] = ()
    close_pairs: tuple[ClosePair, ...] = ()
    warnings: tuple[str, ...] = ()
    per_sample: dict[str, tuple[float | None, ...]] = {}
    costs: tuple[StageCost, ...] = ()


@dataclass(frozen=True)
class SampleTable:
    """Numbers of each generated volume.

    Parameters
    ----------
    names, labels : of each volume.
    numbers : by name, larger is worse; NaN where it is not known.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    numbers: dict[str, tuple[float, ...]]


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write ``metrics.json``, whole or not at all.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    write_json(folder / METRICS_FILE, evaluation.model_dump(mode="json"))


def read_evaluation(folder: Path) -> Evaluation:
    """Read ``metrics.json`` of a folder.

    Raises
    ------
    SourceError : no such file, something else, damaged, or of a newer schema.
    """
    return _read(folder / METRICS_FILE, Evaluation)


def write_stage(folder: Path, name: str, record: StageRecord) -> None:
    """Write what the stage `name` found, whole or not at all.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    write_json(_stage_file(folder, name), record.model_dump(mode="json"))


def read_stage(folder: Path, name: str) -> StageRecord | None:
    """Return what the stage `name` found, None where it has not been finished.

    Raises
    ------
    SourceError : the file is damaged, or of a newer schema.
    """
    path = _stage_file(folder, name)
    return _read(path, StageRecord) if path.exists() else None


def write_samples(folder: Path, samples: SampleTable) -> None:
    """Write ``samples.csv``; cells of numbers that are not known are empty.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([NAME, LABEL, *samples.numbers])
    for row, (name, label) in enumerate(zip(samples.names, samples.labels, strict=True)):
        values = [numbers[row] for numbers in samples.numbers.values()]
        table.writerow([name, label, *("" if math.isnan(value) else repr(float(value)) for value in values)])
    write_text(folder / SAMPLES_FILE, text.getvalue())


def read_samples(folder: Path) -> SampleTable:
    """Read ``samples.csv``.

    Raises
    ------
    SourceError : no such file, or a cell that is no number.
    """
    table = read_csv(folder / SAMPLES_FILE, (NAME, LABEL), SourceError)
    return SampleTable(
        names=tuple(table.text(NAME)),
        labels=tuple(table.text(LABEL)),
        numbers={
            column: tuple(table.numbers(column, empty_allowed=True))
            for column in map(str, table.cells)
            if column not in (NAME, LABEL)
        },
    )


def score_rows(evaluations: Mapping[str, Evaluation] | Sequence[tuple[str, Evaluation]]) -> str:
    """Return the scores of one or several evaluations as CSV, one row a score.

    Parameters
    ----------
    evaluations : by the name that the first column shall have.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    fields = [name for name in Score.model_fields if name not in ("interval", "real_interval")]
    table.writerow(["generator", *fields, "interval_low", "interval_high", "real_interval_low", "real_interval_high"])
    pairs = evaluations.items() if isinstance(evaluations, Mapping) else evaluations
    for name, evaluation in pairs:
        for score in evaluation.scores:
            bounds = [*(score.interval or ("", "")), *(score.real_interval or ("", ""))]
            values = [getattr(score, field) for field in fields]
            table.writerow([name, *("" if value is None else value for value in values), *bounds])
    return text.getvalue()


def _stage_file(folder: Path, name: str) -> Path:
    return folder / STAGE_FOLDER / f"{name}.json"


Record = TypeVar("Record", Evaluation, StageRecord)


def _read(path: Path, kind: type[Record]) -> Record:
    content: dict[str, Any] = read_json(path, SourceError)
    name = kind.model_fields["kind"].default
    if content.get("kind") != name:
        raise SourceError(f"{path}: this is no {name}; name a folder that frazil evaluate wrote")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SourceError(f"{path}: schema version {version} was written by a newer frazil; upgrade frazil")
    try:
        return kind.model_validate(content)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SourceError(f"{path}: damaged, {where}: {first['msg']}; run frazil evaluate again with --force") from None
