"""What a person sees while a command runs: results, warnings, progress."""

from __future__ import annotations

from pathlib import Path

from rich import progress
from rich.console import Console
from rich.markup import escape

console = Console(highlight=False, force_jupyter=False)
"""For results (standard output)."""

error_console = Console(stderr=True, highlight=False, force_jupyter=False)
"""For errors, warnings and progress bars (standard error), so that output can be piped. Plain text in notebooks: widgets need a
package that most people don't have."""


def say(text: str) -> None:
    """Print a line verbatim: no line breaks inside paths, no markup."""
    console.print(text, markup=False, soft_wrap=True)


def say_written(path: Path, what: str) -> None:
    """Print the path of a result, and what it is."""
    console.print(f"  {escape(str(path))}  [dim]{what}[/dim]", soft_wrap=True)


def warn(text: str) -> None:
    """Print a one-line warning on standard error."""
    error_console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


def progress_bar(*, counted: bool = True) -> progress.Progress:
    """Return a progress bar on standard error with the share done, the time spent and left; `counted` adds the items."""
    return progress.Progress(
        progress.TextColumn("[bold]{task.description}"),
        progress.BarColumn(),
        *([progress.MofNCompleteColumn()] if counted else []),
        progress.TaskProgressColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=error_console,
    )
