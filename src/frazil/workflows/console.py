"""What a person sees while a command runs: one console, one look of progress bar."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(highlight=False)
"""Results go here (standard output)."""

error_console = Console(stderr=True, highlight=False)
"""Errors, warnings and progress bars go here (standard error), so that output can be piped."""


def progress_bar() -> Progress:
    """Return a progress bar with the count, the share done, the time spent and the time left."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=error_console,
        transient=False,
    )
