"""`frazil evaluate --compare`: several finished evaluations in; one table on the terminal, as CSV, JSON and HTML, out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from frazil.core.console import console, say, say_written, warn
from frazil.core.errors import OutputError, RequestError
from frazil.core.files import make_folder, read_json, write_json, write_text
from frazil.core.version import __version__
from frazil.evaluation.records import read_evaluation, score_rows
from frazil.evaluation.report.page import write_comparison
from frazil.evaluation.scores import SCHEMA_VERSION, Better, Evaluation, Score
from frazil.evaluation.verdict.verdict import judged_anew

KIND = "frazil comparison"

_WAYS: dict[Better, str] = {"lower": "↓", "higher": "↑", "as real": "="}
"""Which way is good, before the name of a score."""

JSON_FILE, CSV_FILE, HTML_FILE = "comparison.json", "comparison.csv", "comparison.html"


def compare(folders: Sequence[Path], out: Path | None = None, *, force: bool = False) -> list[Evaluation]:
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
        raise RequestError(f"--compare: {len(folders)} evaluation; name two or more folders that frazil evaluate wrote")
    evaluations = _with_own_names([judged_anew(read_evaluation(folder)) for folder in folders])
    for warning in unlike(evaluations):
        warn(warning)
    console.print(_table(evaluations))
    say("↓ lower is better, ↑ higher is better, = best where real is")
    if out is not None:
        _write(out, folders, evaluations, force=force)
    return evaluations


def unlike(evaluations: Sequence[Evaluation]) -> list[str]:
    """Say in what the evaluations differ so that their numbers cannot simply be held against each other."""
    first, warnings = evaluations[0], []
    for other in evaluations[1:]:
        pair = f"{first.name} and {other.name}"
        if (first.held_out.digest, first.held_out.box_size_voxel) != (
            other.held_out.digest,
            other.held_out.box_size_voxel,
        ):
            warnings.append(
                f"{pair} were judged against other real boxes: compare each with its own real column, not with the other"
            )
        elif first.generated.counts != other.generated.counts:
            warnings.append(
                f"{pair} have other numbers of samples ({sum(first.generated.counts.values())}, "
                f"{sum(other.generated.counts.values())}): Frechet distance, Vendi score, precision and recall depend on them"
            )
        if first.seed != other.seed:
            warnings.append(f"{pair} were judged with other seeds ({first.seed}, {other.seed})")
    return warnings


def _with_own_names(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Number those that share a name."""
    names: list[str] = []
    for evaluation in evaluations:
        name, number = evaluation.name, 2
        while name in names:
            name, number = f"{evaluation.name} ({number})", number + 1
        names.append(name)
    return [one.model_copy(update={"name": name}) for one, name in zip(evaluations, names, strict=True)]


def _table(evaluations: Sequence[Evaluation]) -> Table:
    """Return answers and the scores of all classes together, one column a generator, real volumes beside them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for evaluation in evaluations:
        table.add_column(evaluation.name, justify="right", overflow="fold")
    table.add_column("real", justify="right", style="dim")
    for question in (verdict.question for verdict in evaluations[0].verdicts):
        answers = [next((v.answer for v in one.verdicts if v.question == question), "") for one in evaluations]
        table.add_row(f"[bold]{question}?[/bold]", *answers, "")
    for name in dict.fromkeys(score.name for one in evaluations for score in one.scores if score.label is None):
        found = [_pooled(one, name) for one in evaluations]
        real = next((score for score in found if score is not None and score.real is not None), None)
        better = next(score.better for score in found if score is not None)
        table.add_row(f"{_WAYS[better]} {name}", *(_cell(score) for score in found), _cell(real, "real"))
    return table


def _pooled(evaluation: Evaluation, name: str) -> Score | None:
    return next((score for score in evaluation.scores if score.name == name and score.label is None), None)


def _cell(score: Score | None, which: str = "value") -> str:
    value = getattr(score, which) if score is not None else None
    return "–" if value is None else f"{value:.3g}"


def _write(out: Path, folders: Sequence[Path], evaluations: Sequence[Evaluation], *, force: bool) -> None:
    path = out / JSON_FILE
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "frazil_version": __version__,
        "folders": [folder.resolve().name for folder in folders],
        "notes": unlike(evaluations),
        "evaluations": [evaluation.model_dump(mode="json") for evaluation in evaluations],
    }
    there = read_json(path, OutputError) if path.exists() else None
    if there == content and all((out / file).exists() for file in (CSV_FILE, HTML_FILE)) and not force:
        say(f"{out}: this comparison is there already; nothing to do")
        return
    if there is not None and there.get("kind") != KIND:
        raise OutputError(
            f"{path}: frazil evaluate --compare did not write it and will not replace it; choose another folder"
        )
    if there is not None and there != content and not force:
        raise OutputError(f"{out}: holds another comparison; choose another folder, or pass --force to replace it")
    make_folder(out)
    write_text(out / CSV_FILE, score_rows([(one.name, one) for one in evaluations]))
    write_comparison(out / HTML_FILE, evaluations)
    write_json(path, content)
    for file, what in (
        (HTML_FILE, "side by side: open it in a browser"),
        (CSV_FILE, "one row a score"),
        (JSON_FILE, "everything"),
    ):
        say_written(out / file, what)
