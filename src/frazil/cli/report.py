"""The command `frazil report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    evaluation: Annotated[Path, typer.Argument(help="Folder that [bold]frazil evaluate[/bold] wrote.")],
) -> None:
    """Rewrite the HTML report of an evaluation."""
    from frazil.evaluation.report.run import report

    report(evaluation)
