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

_LONGEST_LINE = 2000


def printable(text: str) -> str:
    """Return a text from anywhere as one line of moderate length; what has no glyph is written as an escape."""
    text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 300]} ... {text[-300:]}"


def say(text: str) -> None:
    """Print a line verbatim: no line breaks inside paths, no markup."""
    console.print(printable(text), markup=False, soft_wrap=True)


def say_written(path: Path, what: str) -> None:
    """Print the path of a result, and what it is."""
    console.print(f"  {escape(printable(str(path)))}  [dim]{escape(what)}[/dim]", soft_wrap=True)


def warn(text: str) -> None:
    """Print a one-line warning on standard error."""
    error_console.print(f"warning: {printable(text)}", style="yellow", markup=False, soft_wrap=True)


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
