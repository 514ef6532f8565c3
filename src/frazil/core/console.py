"""What a person sees while a command runs: one console, one look of progress bar."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
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


def say(text: str) -> None:
    """Print a line as it is: never broken, so that a path stays one path, and brackets stay brackets."""
    console.print(text, markup=False, soft_wrap=True)


def say_written(path: Path, what: str) -> None:
    """Print what was written where."""
    console.print(f"  {escape(str(path))}  [dim]{what}[/dim]", soft_wrap=True)


def warn(text: str) -> None:
    """Print what a user should know, on standard error, in one line."""
    error_console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


def progress_bar(*, counted: bool = True) -> Progress:
    """Return a progress bar on standard error with the share done, the time spent and the time left.

    Parameters
    ----------
    counted : also show how many items of how many are done.
    """
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        *([MofNCompleteColumn()] if counted else []),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=error_console,
    )
