"""`frazil report`: what `frazil evaluate` left on disk in; one HTML file out. Also what of it is told on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from frazil.core.console import console, say, say_written
from frazil.evaluation.examples.files import read_examples
from frazil.evaluation.records import EXAMPLES_FILE, REPORT_FILE, read_evaluation
from frazil.evaluation.report.page import write_report
from frazil.evaluation.scores import Evaluation
from frazil.evaluation.verdict.verdict import judged_anew

_STYLES = {"yes": "green", "partly": "yellow", "no": "red", "not measured": "dim"}


def report(folder: Path) -> Path:
    """Write the report of a finished evaluation anew.

    Parameters
    ----------
    folder : that `frazil evaluate` wrote.

    Returns
    -------
    The HTML file.

    Raises
    ------
    SourceError : no evaluation, damaged, or of a newer schema.
    OutputError : the place cannot be written.
    """
    path = write_html(folder)
    say_written(path, "the report: open it in a browser")
    return path


def write_html(folder: Path) -> Path:
    """Write the report of the evaluation in `folder` and say nothing."""
    evaluation = judged_anew(read_evaluation(folder))
    path = folder / REPORT_FILE
    write_report(path, evaluation, read_examples(folder / EXAMPLES_FILE))
    return path


def say_verdicts(evaluation: Evaluation) -> None:
    """Print the answer to each question, and how long each stage took."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in evaluation.verdicts:
        style = _STYLES[verdict.answer]
        table.add_row(
            f"[bold]{verdict.question}?[/bold]", f"[{style}]{verdict.answer}[/{style}]", _plain(verdict.sentence)
        )
    console.print(table)
    if evaluation.stages:
        costs = ", ".join(
            f"{cost.name} {cost.seconds:.0f} s ({cost.peak_memory_gb:.1f} GB)" for cost in evaluation.stages
        )
        say(f"took {costs}")


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
