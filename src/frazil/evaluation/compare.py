"""`frazil evaluate --compare`: several finished evaluations in; one table on the terminal, as CSV, JSON and HTML, out."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from frazil.core.console import say, say_written, warn
from frazil.core.errors import RequestError
from frazil.core.files import write_text
from frazil.core.folder import OutputFolder
from frazil.evaluation.records import read_evaluation, score_table
from frazil.evaluation.report.page import write_comparison
from frazil.evaluation.report.run import say_table, table_html
from frazil.evaluation.scores import Evaluated, Evaluation
from frazil.evaluation.verdicts import with_verdicts
from frazil.io.cells import csv_text

JSON_FILE, CSV_FILE, HTML_FILE = "comparison.json", "comparison.csv", "comparison.html"

_WAYS = {"lower": "↓", "higher": "↑", "as real": "="}  # which way is good, before the name of a score


class ComparisonRecord(Evaluated):
    """The content of ``comparison.json``. `notes` say why numbers of different generators may not be comparable."""

    written_by: ClassVar[str] = "frazil evaluate --compare"

    kind: Literal["frazil comparison"] = "frazil comparison"
    folders: tuple[str, ...]
    notes: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True)
class SideBySide:
    """Finished evaluations, and why their numbers may not be comparable; a notebook shows their table."""

    evaluations: tuple[Evaluation, ...]
    cautions: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """Answers and the scores of all classes together: one column per generator, real volumes last."""
        rows: dict[str, list[str | float | None]] = {}
        for place, verdict in enumerate(self.evaluations[0].verdicts):
            rows[f"{verdict.question}?"] = [*(one.verdicts[place].answer for one in self.evaluations), ""]
        found = [{score.name: score for score in one.scores if score.label is None} for one in self.evaluations]
        for name in dict.fromkeys(name for scores in found for name in scores):
            own = [scores.get(name) for scores in found]
            known = [score for score in own if score is not None]
            real = next((score.real for score in known if score.real is not None), None)
            values = [score.value if score is not None else None for score in own]
            rows[f"{_WAYS[known[0].better]} {name}"] = [*values, real]
        columns = [*(one.name for one in self.evaluations), "real"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def _repr_html_(self) -> str:
        return table_html(self.table) + "".join(f"<p>{html.escape(caution)}</p>" for caution in self.cautions)


def compare(folders: Sequence[str | Path], out: str | Path | None = None, *, force: bool = False) -> SideBySide:
    """Put finished evaluations side by side.

    Parameters
    ----------
    folders : that `frazil evaluate` wrote, in the order of the columns.
    out : folder for the comparison as HTML, JSON and CSV; None prints the table alone.
    force : replace another comparison.

    Raises
    ------
    RequestError : fewer than two evaluations.
    SourceError : a folder that holds no evaluation.
    OutputError : `out` holds something else, or cannot be written.
    """
    if len(folders) < 2:
        raise RequestError(f"compare: {len(folders)} evaluation; name two or more folders that frazil evaluate wrote")
    evaluations = _with_own_names([with_verdicts(read_evaluation(Path(folder))) for folder in folders])
    found = SideBySide(evaluations, tuple(cautions(evaluations)))
    for caution in found.cautions:
        warn(caution)
    say_table(found.table)
    say("↓ lower is better, ↑ higher is better, = best where real is")
    if out is not None:
        _write(Path(out), [Path(folder) for folder in folders], found, force=force)
    return found


def cautions(evaluations: Sequence[Evaluation]) -> list[str]:
    """Say in what the evaluations differ, so that their numbers cannot simply be compared."""

    def by_name(values: Sequence[object]) -> str:
        return ", ".join(f"{one.name} {value}" for one, value in zip(evaluations, values, strict=True))

    found = []
    if len({(one.held_out.digest, tuple(sorted(one.held_out.counts.items()))) for one in evaluations}) > 1:
        found.append("different held-out boxes: compare each generator with its own real column only")
    edges = [one.generated.box_size_voxel for one in evaluations]
    if len(set(edges)) > 1:
        found.append(f"different box sizes ({by_name(edges)}): distances of features, spectra and pixels depend on it")
    if len({tuple(sorted(one.generated.counts.items())) for one in evaluations}) > 1:
        counts = [sum(one.generated.counts.values()) for one in evaluations]
        found.append(
            f"different numbers of generated volumes ({by_name(counts)}), in total or by class: Fréchet distance, Vendi score, "
            "precision and recall depend on them"
        )
    seeds = [one.seed for one in evaluations]
    if len(set(seeds)) > 1:
        found.append(f"different seeds ({by_name(seeds)})")
    return found


def _with_own_names(evaluations: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """Number those that share a name."""
    named: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        name, number = evaluation.name, 2
        while name in named:
            name, number = f"{evaluation.name} ({number})", number + 1
        named[name] = evaluation.model_copy(update={"name": name})
    return tuple(named.values())


def _write(out: Path, folders: Sequence[Path], found: SideBySide, *, force: bool) -> None:
    names = tuple(folder.resolve().name for folder in folders)
    record = ComparisonRecord(folders=names, notes=found.cautions, evaluations=found.evaluations)
    folder = OutputFolder(out, JSON_FILE, ComparisonRecord, (CSV_FILE, HTML_FILE))
    with folder.held():
        work, same = folder.begin(record, force=force, again=True)
        work.check()
        if same is not None and work is folder and all((out / file).exists() for file in folder.owns):
            say(f"{out}: this comparison already exists; nothing to do")
            return
        write_text(work.path / CSV_FILE, csv_text(score_table(found.evaluations)))
        write_comparison(work.path / HTML_FILE, found.evaluations, found.cautions)
        work.finish()
    say_written(out / HTML_FILE, "side by side: open it in a browser")
    say_written(out / CSV_FILE, "one row per score")
    say_written(out / JSON_FILE, "everything")
