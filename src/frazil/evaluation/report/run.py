"""`frazil report`: what `frazil evaluate` left on disk in; one HTML file out. Also prints the verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.markup import escape
from rich.table import Table

from frazil.core.console import say, say_written
from frazil.core.console import say_table as print_table
from frazil.core.folder import final_place
from frazil.evaluation.examples import read_examples
from frazil.evaluation.records import EXAMPLES_FILE, REPORT_FILE, evaluation_folder, read_evaluation
from frazil.evaluation.report.page import write_report
from frazil.evaluation.scores import Evaluation, StageCost
from frazil.evaluation.verdicts import compared_with, with_verdicts

_STYLES = {"yes": "green", "partly": "yellow", "no": "red", "not measured": "dim"}


def report(folder: str | Path) -> Path:
    """Rewrite the report of a finished evaluation, and return the HTML file.

    Parameters
    ----------
    folder : that `frazil evaluate` wrote.

    Raises
    ------
    SourceError : no evaluation, damaged, or of a newer schema.
    OutputError : the place cannot be written.
    """
    folder = Path(folder)
    read_evaluation(folder)  # before anything is written
    with evaluation_folder(folder).held():
        return report_of_held(folder)


def report_of_held(folder: Path) -> Path:
    """Write the report of an evaluation whose folder is held."""
    write_report(folder / REPORT_FILE, with_verdicts(read_evaluation(folder)), read_examples(folder / EXAMPLES_FILE))
    path = final_place(folder) / REPORT_FILE
    say_written(path, "the report: open it in a browser")
    return path


def say_table(table: pd.DataFrame) -> None:
    """Print a table, its index first."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("", no_wrap=True)
    for column in table.columns:
        shown.add_column(escape(str(column)), justify="right", overflow="fold")
    for name, *cells in table.itertuples():
        shown.add_row(escape(name), *(escape(cell) if isinstance(cell, str) else _cell(cell) for cell in cells))
    print_table(shown, "scores", table.astype(object).where(table.notna(), None).to_dict(orient="index"))


def table_html(table: pd.DataFrame, *, index: bool = True) -> str:
    """Return a table for a notebook."""
    with pd.option_context("display.max_colwidth", None):
        return table.to_html(index=index, float_format=_cell, na_rep=_cell(None))


def _cell(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"


def say_verdicts(evaluation: Evaluation, costs: Sequence[StageCost] = ()) -> None:
    """Print the answer to each question, and how long each stage took that was run."""
    say(compared_with(evaluation))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in evaluation.verdicts:
        if verdict.answer == "not measured" and not evaluation.held_out.counts:
            continue  # without real boxes there is one question
        style = _STYLES[verdict.answer]
        answer = f"[{style}]{verdict.answer}[/{style}]"
        table.add_row(f"[bold]{verdict.question}?[/bold]", answer, escape(verdict.sentence))
    print_table(table, "verdicts", [verdict.model_dump() for verdict in evaluation.verdicts])
    if costs:
        say(f"took {', '.join(f'{one.name} {one.seconds:.0f} s ({one.peak_memory_gb:.1f} GB)' for one in costs)}")
