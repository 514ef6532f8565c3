"""What frazil wrote into an output folder, so that it can be told from everything else: only that is ever removed or replaced.

The folder of a command has a hidden folder `.written` with a journal of each process that wrote there. A line names a file with
its size, time and digest; it is written before the file is moved into place, so that no kill can come between. What else
stands where a file must go, or was changed since, is moved to the folder `kept`, which is said.

Locks, journals, and what is half-made have hidden names of their own: they are not entered, and cleared when whoever made them
is dead.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from frazil.core.console import warn
from frazil.core.digests import file_digest

JOURNALS = ".written"
KEPT = "kept"
_SETTLED = "files.jsonl"
_LEFTOVER = re.compile(r"\..+\.(\d+|[0-9a-f]{32})\.(partial|old)")
"""Temporary names: with the number of a process (`.old`: frazil 0.1), or as zarr chooses them."""

_HIDDEN = re.compile(rf"\.(written|lock|turn|new|swap|runs|state)|{_LEFTOVER.pattern}")


class Entry(NamedTuple):
    """A file as frazil wrote it. A log, which grows, has no digest."""

    size: int
    mtime_ns: int
    digest: str | None


_own: dict[str, Entry] = {}
"""What this process has entered, by path."""


class Ledger:
    """All entries of an output folder, by name relative to it: a file that was written more than once has several.

    Parameters
    ----------
    parts : folders in it that are output folders of their own, and belong to it.
    """

    def __init__(self, root: Path, parts: Iterable[str] = ()) -> None:
        self.root = root
        self.entries: dict[str, list[Entry]] = {}
        inside: dict[str, bool] = {}  # of folders, since it takes long
        for part in ("", *parts):
            for journal in _journals(root / part):
                if not journal.is_file():  # a pipe or a device, which never ends
                    continue
                for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
                    with suppress(ValueError, TypeError, RecursionError):  # a line that was cut off
                        name, *values = json.loads(line)
                        name = os.path.join(part, name)  # noqa: PTH118 - a name, not a path
                        folder = os.path.dirname(name)  # noqa: PTH120
                        if folder not in inside:
                            inside[folder] = is_inside(root, folder)
                        if not values:
                            self.entries.pop(name, None)
                        elif inside[folder] and is_inside(root, name, links=False):
                            self.entries.setdefault(name, []).append(Entry(*values))

    def unchanged(self, name: str) -> bool:
        """Return whether a file is as frazil wrote it: by size and time, else by its digest."""
        entries = self.entries.get(name, ())
        file = self.root / name
        try:
            found = file.lstat()
        except OSError:
            return False
        if not S_ISREG(found.st_mode) or not entries:
            return False
        if any(one.digest is None or one[:2] == (found.st_size, found.st_mtime_ns) for one in entries):
            return True
        digests = {one.digest for one in entries if one.size == found.st_size}
        return bool(digests) and file_digest(file) in digests

    def lost(self) -> list[str]:
        """Return the names of files that are gone."""
        return [
            name
            for name, entries in self.entries.items()
            if entries[-1].digest is not None and not os.path.lexists(self.root / name)
        ]

    def changed(self) -> list[str]:
        """Return the names of files that somebody changed."""
        return [name for name in self.entries if os.path.lexists(self.root / name) and not self.unchanged(name)]

    def make_way(self, path: Path) -> None:
        """Move a file that stands at or below `path` to `kept`, unless frazil wrote it as it is."""
        for file in _files(path):
            name = str(file.absolute().relative_to(self.root.absolute()))
            if not _is_hidden(name) and not self.unchanged(name):
                target, number = self.root / KEPT / name, 1
                while os.path.lexists(target):
                    target, number = target.with_name(f"{number}-{file.name}"), number + 1
                target.parent.mkdir(parents=True, exist_ok=True)
                file.rename(target)
                warn(f"{file}: not as frazil wrote it, so it is kept as {target}")

    def remove(self, names: Collection[str]) -> None:
        """Remove those of the files that are as frazil wrote them, and folders that become empty; say what is left."""
        for name in sorted(names):
            file = self.root / name
            if self.unchanged(name):
                file.unlink()
                with suppress(OSError):  # not empty
                    for parent in file.parents:
                        if parent == self.root:
                            break
                        parent.rmdir()
            elif os.path.lexists(file):
                warn(f"{file}: not as frazil wrote it, so it is left there")
        _append(self.root, [json.dumps([name]) for name in names])

    def settle(self) -> None:
        """Join the journals of all processes. Nobody else may be writing."""
        written = [journal for journal in _journals(self.root) if journal.name != _SETTLED]
        if any(journal.stat().st_size for journal in written):
            lines = []
            for name, entries in self.entries.items():
                last = entries[-1]
                if self.unchanged(name):  # the next look at it is a short one
                    found = (self.root / name).stat()
                    digest = last.digest if len(entries) == 1 else file_digest(self.root / name)
                    last = Entry(found.st_size, found.st_mtime_ns, last.digest and digest)
                lines.append(json.dumps([name, *last]) + "\n")
            temporary = self.root / JOURNALS / f".{_SETTLED}.{os.getpid()}.partial"
            temporary.write_text("".join(lines), encoding="utf-8")
            temporary.replace(self.root / JOURNALS / _SETTLED)
        for journal in written:
            journal.unlink()


def is_inside(folder: Path, name: str, *, links: bool = True) -> bool:
    """Return whether a name that was read from a file leads to a place inside `folder`, with `links` followed."""
    path = Path(name)
    if "\0" in name or path.is_absolute() or ".." in path.parts:
        return False
    real = os.path.realpath(folder / path)  # unlike resolve, it takes links that lead in circles
    return not links or Path(real).is_relative_to(folder.resolve())


def root_of(path: Path) -> Path | None:
    """Return the output folder that a file belongs to, None if to none."""
    return next((folder for folder in path.absolute().parents if (folder / JOURNALS).is_dir()), None)


def enter(path: Path, content: Path, *, log: bool = False) -> None:
    """Enter what is about to be moved from `content`, a file or a folder, to `path`; make way for it.

    Parameters
    ----------
    log : a file that is in its place and will grow.
    """
    root = root_of(path)
    if root is None or _is_hidden(place := str(path.absolute().relative_to(root))):
        return
    files = list(_files(content))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        digests: list[str | None] = [None] * len(files) if log else list(pool.map(file_digest, files))
    entries = {}
    for file, digest in zip(files, digests, strict=True):
        found = file.stat()
        name = os.path.normpath(os.path.join(place, os.path.relpath(file, content)))  # noqa: PTH118 - a name
        entries[str(root / name)] = Entry(found.st_size, found.st_mtime_ns, digest)
    if not log and not all(_is_replaceable(file, entries) for file in map(str, _files(path.absolute()))):
        Ledger(root).make_way(path)
    _own.update(entries)
    _append(root, [json.dumps([os.path.relpath(file, root), *entry]) for file, entry in entries.items()])


def _is_replaceable(file: str, entries: Mapping[str, Entry]) -> bool:
    """Return whether nothing is lost with a file: this process wrote it, or what replaces it is the same."""
    found, known, new = os.lstat(file), _own.get(file), entries.get(file)
    if known is not None and known[:2] == (found.st_size, found.st_mtime_ns):
        return True
    return new is not None and found.st_size == new.size and file_digest(Path(file)) == new.digest


def move_files(source: Path, target: Path, *, last: str) -> None:
    """Move all files of a folder into one that exists, each entered; what else is there stays."""
    for file in sorted(_files(source), key=lambda file: (file.name == last, file)):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        enter(place, file)
        file.replace(place)


def begin_journal(root: Path) -> None:
    """Say that this process works in `root`; until the journals are settled it counts as killed."""
    (root / JOURNALS).mkdir(parents=True, exist_ok=True)
    _append(root, [])


def is_settled(root: Path) -> bool:
    """Return whether all processes that worked in `root` have ended well."""
    return [journal.name for journal in _journals(root)] == [_SETTLED]


def has_other_journals(root: Path) -> bool:
    """Return whether other processes have worked in `root` since the journals were settled."""
    return any(journal.name not in (_SETTLED, _journal_name()) for journal in _journals(root))


def clear_leftovers(root: Path) -> None:
    """Remove what killed processes left half-written, but for folders in which other commands work."""
    for here, folders, files in os.walk(root):
        if Path(here) != root and JOURNALS in folders:
            folders.clear()
            continue
        for name in filter(_LEFTOVER.fullmatch, [*folders, *files]):
            remove_own(Path(here) / name)
        folders[:] = [name for name in folders if not name.startswith(".")]


def remove_own(path: Path) -> None:
    """Remove something temporary or hidden, which is frazil's own."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _journals(root: Path) -> list[Path]:
    """Return all journals, first what was joined of earlier ones."""
    return sorted((root / JOURNALS).glob("*.jsonl"), key=lambda journal: (journal.name != _SETTLED, journal.name))


def _journal_name() -> str:
    return f"{os.uname().nodename}-{os.getpid()}.jsonl"


def _append(root: Path, lines: Iterable[str]) -> None:
    with (root / JOURNALS / _journal_name()).open("a", encoding="utf-8") as stream:
        stream.write("".join(f"{line}\n" for line in lines))


def _files(path: Path) -> Iterable[Path]:
    """Return a file, or all files in a folder; links are files."""
    if path.is_dir() and not path.is_symlink():
        return sorted(Path(here, name) for here, _, names in os.walk(path) for name in names)
    return [path] if os.path.lexists(path) else []


def _is_hidden(name: str) -> bool:
    return any(_HIDDEN.fullmatch(part) for part in Path(name).parts)
