"""Files that are either whole or absent: written under a temporary name, then moved into place."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from frazil.core.console import warn
from frazil.core.digests import bytes_digest as bytes_digest
from frazil.core.digests import file_digest as file_digest
from frazil.core.digests import text_digest as text_digest
from frazil.core.errors import FrazilError, OutputError
from frazil.core.ledger import enter, is_inside, remove_own
from frazil.core.reading import one_line

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or write elsewhere, then rerun the same command to resume",
    errno.EDQUOT: "the quota is full; free some space or write elsewhere, then rerun the same command to resume",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "permission denied; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder",
    errno.EEXIST: "a file of that name already exists; choose another folder",
    errno.EWOULDBLOCK: "another process works here; wait for it, or choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system about writing `path` into an `OutputError` with a remedy."""
    try:
        yield
    except OSError as error:
        said = f"cannot be written ({error.strerror or one_line(error)}); check the disk, or choose another folder"
        raise OutputError(f"{path}: {_REMEDIES.get(error.errno or 0, said)}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; move it into place when the block succeeds, remove it when it fails.

    Works for files and folders. Makes the parent folder if needed. In an output folder what is written is entered in its ledger,
    and what somebody else put in the place is kept (`frazil.core.ledger`).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            enter(path, temporary)
            if path.is_dir() and temporary.is_dir():  # os.replace refuses a folder that is not empty
                old = path.with_name(f".{path.name}.old.{os.getpid()}.partial")
                path.replace(old)
                temporary.replace(path)
                remove_own(old)
            else:
                temporary.replace(path)
        finally:
            remove_own(temporary)


@contextmanager
def locked(lock_file: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold the folder of `lock_file` while the block runs; the operating system lets go of it even after a kill.

    Parameters
    ----------
    shared : hold it together with others that say so; they keep out those that do not.
    wait : for who holds it, instead of raising an `OutputError`.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    with ExitStack() as stack:
        with output_errors(
            lock_file.parent
        ):  # not around the block: what fails there may have nothing to do with the folder
            while True:
                stream = stack.enter_context(lock_file.open("a"))
                try:
                    fcntl.flock(stream, how)
                except OSError as fault:
                    if fault.errno not in _NO_LOCKS:
                        raise
                    warn(f"{lock_file.parent}: its file system has no locks; run one command at a time there")
                    break
                with suppress(FileNotFoundError):
                    if os.path.samestat(lock_file.stat(), os.fstat(stream.fileno())):
                        break  # else whoever held it has removed the file
        yield


def make_folder(path: Path) -> None:
    """Make the folder `path` if needed, and check that it can be written."""
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise OutputError(f"{path}: {_REMEDIES[errno.EACCES]}")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all. NaN is refused because JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def check_inside(folder: Path, names: Iterable[str], origin: Path, error: type[FrazilError]) -> None:
    """Raise `error` if a file that `origin` names would lie outside `folder`."""
    for name in names:
        if not is_inside(folder, name):
            raise error(f"{origin}: names {name!r}, which is not inside {folder}; do not use it, or correct it")
