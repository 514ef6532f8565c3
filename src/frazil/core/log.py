"""The log of an output folder, `frazil.log`: what all commands that worked there said, and when; also what no terminal showed.

It is begun when a command takes the folder (`frazil.core.folder`). What was said before is then written first. A log that cannot
be written stops nothing.
"""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from frazil.core.version import __version__

LOG = "frazil.log"

_MOST_WAITING = 1000  # lines before there is a folder

_stream: TextIO | None = None
_begun: set[Path] = set()
"""Logs that were not there before."""

_waiting: deque[str] | None = None
"""Of a command; None outside of one."""


@contextmanager
def logged_command(line: str) -> Iterator[None]:
    """Log all that is said while the block runs, in the first folder that is held in it.

    Parameters
    ----------
    line : what the person typed.
    """
    global _waiting
    _waiting = deque(maxlen=_MOST_WAITING)
    note(f"$ {line}")
    try:
        yield
    finally:
        _waiting = None
        _close()


@contextmanager
def logged_in(folder: Path) -> Iterator[None]:
    """Log in a folder while the block runs, and to the end of a command; nothing, where a folder around it has the log."""
    global _stream
    if _stream is not None or (stream := _open(folder / LOG)) is None:
        yield
        return
    _stream = stream
    for line in _waiting or (_line("frazil in Python"),):
        _write(line)
    note(f"frazil {__version__}, Python {platform.python_version()}, torch {version('torch')}, {platform.platform()}")
    note(f"{platform.node()}: {os.cpu_count()} cores")
    try:
        yield
    except BaseException:
        note(traceback.format_exc().rstrip())
        raise
    finally:
        if _waiting is None:
            _close()


def remove_new_log(folder: Path) -> None:
    """Remove the log of a folder if this process began it."""
    if folder / LOG in _begun:
        with suppress(OSError):
            (folder / LOG).unlink()


def note(text: str) -> None:
    """Add lines to the log."""
    line = _line(text)
    if _stream is not None:
        _write(line)
    elif _waiting is not None:
        _waiting.append(line)


def _line(text: str) -> str:
    start = f"{time.strftime('%Y-%m-%d %H:%M:%S')} [{os.getpid()}] "
    return "".join(f"{start}{one.rstrip()}\n" for one in text.splitlines() if one.strip())


def _open(path: Path) -> TextIO | None:
    with suppress(OSError):
        there = os.path.lexists(path)
        if not there or (path.is_file() and not path.is_symlink()):  # a pipe would never open
            (_begun.discard if there else _begun.add)(path)
            return path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    return None


def _write(line: str) -> None:
    if _stream is not None:
        with suppress(OSError, ValueError):
            _stream.write(line)


def _close() -> None:
    global _stream
    if _stream is not None:
        with suppress(OSError):
            _stream.close()
    _stream = None
