"""What a person sees while a command runs: results, warnings, progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import progress
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from rich.table import Table

console = Console(highlight=False, force_jupyter=False)
"""For results (standard output)."""

error_console = Console(stderr=True, highlight=False, force_jupyter=False)
"""For errors, warnings and progress bars (standard error), so that output can be piped. Plain text in notebooks: widgets need a
package that most people don't have."""

_LONGEST_LINE = 2000
_said: dict[str, Any] | None = None


@contextmanager
def quieter(*, collect: bool = False) -> Iterator[dict[str, Any]]:
    """Print neither results nor progress while the block runs, only warnings and errors; yield what would have been printed.

    Parameters
    ----------
    collect : the tables by name, and ``messages`` and ``files``; without it, nothing.
    """
    global _said
    before, console.quiet = console.quiet, True
    _said = {"messages": [], "files": []} if collect else None
    try:
        yield _said or {}
    finally:
        console.quiet, _said = before, None


def printable(text: str) -> str:
    """Return a text from anywhere as one line of moderate length; what has no glyph is written as an escape."""
    text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 300]} ... {text[-300:]}"


def say(text: str) -> None:
    """Print a line verbatim: no line breaks inside paths, no markup."""
    console.print(printable(text), markup=False, soft_wrap=True)
    if _said is not None:
        _said["messages"].append(text)


def say_table(table: Table, name: str, rows: Any) -> None:
    """Print a table, of which `rows` say the same in plain values."""
    console.print(table)
    if _said is not None:
        _said[name] = rows


def say_written(path: Path, what: str) -> None:
    """Print the path of a result, and what it is."""
    console.print(f"  {escape(printable(str(path)))}  [dim]{escape(what)}[/dim]", soft_wrap=True)
    if _said is not None:
        _said["files"].append({"path": str(path), "what": what})


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
        disable=console.quiet,
    )
