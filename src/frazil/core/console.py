"""What a person sees while a command runs: results, warnings, progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from traceback import format_exc
from typing import TYPE_CHECKING, Any

from rich import progress
from rich.console import Console
from rich.markup import escape

from frazil.core.log import note

if TYPE_CHECKING:
    from rich.table import Table

console = Console(highlight=False, force_jupyter=False)
"""For results (standard output)."""

error_console = Console(stderr=True, highlight=False, force_jupyter=False)
"""For errors, warnings and progress bars (standard error), so that output can be piped. Plain text in notebooks: widgets need a
package that most people don't have."""

_LONGEST_LINE = 2000
_verbose = False
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


@contextmanager
def more_verbose() -> Iterator[None]:
    """Print details while the block runs, which else only the log has, and where an error arose."""
    global _verbose
    before, _verbose = _verbose, True
    try:
        yield
    except Exception:
        error_console.print(format_exc(), style="dim", markup=False, soft_wrap=True)
        raise
    finally:
        _verbose = before


def printable(text: str) -> str:
    """Return a text from anywhere as one line of moderate length; what has no glyph is written as an escape."""
    text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 300]} ... {text[-300:]}"


def say(text: str) -> None:
    """Print a line verbatim: no line breaks inside paths, no markup."""
    console.print(printable(text), markup=False, soft_wrap=True)
    note(text)
    if _said is not None:
        _said["messages"].append(text)


def say_table(table: Table, name: str, rows: Any) -> None:
    """Print a table, of which `rows` say the same in plain values."""
    console.print(table)
    plain = Console(file=StringIO(), width=160, force_jupyter=False)
    plain.print(table)
    note(plain.file.getvalue())  # type: ignore[attr-defined]
    if _said is not None:
        _said[name] = rows


def say_written(path: Path, what: str) -> None:
    """Print the path of a result, and what it is."""
    console.print(f"  {escape(printable(str(path)))}  [dim]{escape(what)}[/dim]", soft_wrap=True)
    note(f"{path}: {what}")
    if _said is not None:
        _said["files"].append({"path": str(path), "what": what})


def warn(text: str) -> None:
    """Print a one-line warning on standard error."""
    error_console.print(f"warning: {printable(text)}", style="yellow", markup=False, soft_wrap=True)
    note(f"warning: {text}")


def detail(text: str) -> None:
    """Write a line into the log, and with ``--verbose`` on standard error."""
    if _verbose:
        error_console.print(printable(text), style="dim", markup=False, soft_wrap=True)
    note(text)


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
