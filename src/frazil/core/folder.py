"""The output folder of a command: resume, refuse, replace and lock, by the same rules for all commands.

Each command first writes a record that says what the folder holds (`Document`). From then on:

- the same request resumes, or finds that nothing is left to do;
- a different request is refused, unless ``--force`` is given or the earlier call finished nothing;
- what is replaced stays until its replacement, made in a hidden folder in the same place, is whole;
- only files that frazil wrote and nobody changed are removed or replaced (`frazil.core.ledger`); what else is in the way is kept;
- one process at a time works in a folder, and the operating system releases the lock even after a kill.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Self, TypeVar

from frazil.core.console import say
from frazil.core.documents import Document, differences
from frazil.core.errors import OutputError
from frazil.core.files import locked, make_folder, output_errors
from frazil.core.ledger import (
    JOURNALS,
    Ledger,
    begin_journal,
    clear_leftovers,
    has_other_journals,
    is_settled,
    remove_own,
)
from frazil.core.log import LOG, logged_in, remove_new_log
from frazil.core.reading import read_json

_NEW, _SWAP = ".new", ".swap"
"""A replacement that is made, and one that is whole and takes its place."""

_verifies = ContextVar("verifies", default=True)

Record = TypeVar("Record", bound=Document)


@dataclass(frozen=True)
class OutputFolder(Generic[Record]):
    """A folder that a command writes.

    Parameters
    ----------
    path : the folder.
    record_file : file in it that says what the folder holds.
    record_type : schema of that file.
    owns : glob patterns, relative to the folder, of everything else that the command writes there.
    parts : folders in it that are output folders of their own.
    """

    path: Path
    record_file: str
    record_type: type[Record]
    owns: tuple[str, ...]
    parts: tuple[str, ...] = ()

    @property
    def record_path(self) -> Path:
        """Where the record is."""
        return self.path / self.record_file

    @property
    def replacement(self) -> Self:
        """Where its replacement is made."""
        return replace(self, path=self.path / _NEW)

    def written(self) -> list[Path]:
        """Return the files and folders that the command wrote, or that stand where it would write."""
        with output_errors(self.path):
            return sorted({path for pattern in self.owns for path in self.path.glob(pattern)})

    def earlier(
        self,
        wanted: Record,
        *,
        force: bool,
        compare: Callable[[Record, Record], list[str]] = differences,
    ) -> Record | None:
        """Return the record of an earlier call for the same request, None where the work starts over. Touches nothing.

        Parameters
        ----------
        compare : names the differences between the earlier record and `wanted` that make them different requests.
        force : start over where the earlier call had another request, or where its record is damaged.
        """
        command = self.record_type.written_by
        with output_errors(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise OutputError(f"{self.path}: is a file; choose a folder")
            there = self.record_path.exists()
        if not there:
            if foreign := self.written():
                raise OutputError(
                    f"{foreign[0]}: {command} did not write it and will not replace it; choose another folder"
                )
            return None
        try:
            content = read_json(self.record_path, OutputError)
        except OutputError as fault:
            if force:
                return None
            raise OutputError(f"{fault}, or pass --force (in Python: force=True) to start over") from None
        newest = self.record_type.model_fields["schema_version"].default
        try:
            record = self.record_type.parse(content, self.record_path, OutputError)
        except OutputError:
            version = content.get("schema_version")
            newer = isinstance(version, int) and version > newest
            if force and content.get("kind") == self.record_type.model_fields["kind"].default and not newer:
                return None
            raise
        different = compare(record, wanted)
        if not different:
            return record
        if force or not self.written():
            return None
        raise OutputError(
            f"{self.path}: holds the result of another request ({'; '.join(different)}); "
            "choose another folder, or pass --force (in Python: force=True) to replace it"
        )

    @contextmanager
    def held(self, *, shared: bool = False) -> Iterator[None]:
        """Make the folder and lock it while the block runs. A new folder goes again if nothing was written into it.

        First what an earlier process was killed at is set right: leftovers are removed, and a replacement that is whole is put
        into place.

        Parameters
        ----------
        shared : several processes may hold it at the same time, each for other files; see `turn`.
        """
        with output_errors(self.path):
            made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        make_folder(self.path)
        lock = self.path / ".lock"
        try:
            if shared:
                with suppress(OutputError), locked(lock):  # nobody else is here
                    self._recover()
            with locked(lock, shared=shared):
                with output_errors(self.path):
                    if not shared:
                        self._recover()
                    begin_journal(self.path)
                with logged_in(self.path):
                    yield
                if not shared:
                    with output_errors(self.path):
                        if has_other_journals(self.path):
                            clear_leftovers(self.path)  # a worker may have been killed
                        Ledger(self.path).settle()
                self._remove_if_new(made)
        except BaseException:
            with suppress(OutputError), locked(lock):
                self._remove_if_new(made)
            raise

    def _remove_if_new(self, made: list[Path]) -> None:
        if not self.record_path.exists():  # nothing of ours is here, so there is nothing to log
            remove_new_log(self.path)
        if made and not self.record_path.exists() and not self.written():
            with suppress(OSError):
                clear_leftovers(self.path)
                remove_own(self.path / JOURNALS)
                for lock in (".turn", ".lock"):
                    (self.path / lock).unlink(missing_ok=True)
                for folder in made:
                    folder.rmdir()  # fails where somebody else put something

    def turn(self) -> AbstractContextManager[None]:
        """Wait for the others that share the folder, for what only one may do at a time, such as writing the record."""
        return locked(self.path / ".turn", wait=True)

    def begin(
        self,
        wanted: Record,
        *,
        force: bool,
        again: bool = False,
        shared: bool = False,
        compare: Callable[[Record, Record], list[str]] = differences,
    ) -> tuple[Self, Record | None]:
        """Return the folder to work in, with the record of an earlier call for the same request that worked there, if any.

        It is this one, or, where something is to be replaced, a hidden one in it that takes its place by `finish`. Hold this one.

        Parameters
        ----------
        again : with `force`, replace what an earlier call for the same request made.
        shared : others may work here, so nothing is replaced.
        compare, force : see `earlier`.
        """
        earlier = self.earlier(wanted, force=force, compare=compare)
        if earlier is not None and not (force and again):
            return self, earlier
        with output_errors(self.path):
            if not self.record_path.exists() or not self.written():
                wanted.write(self.record_path)
                return self, None
            if shared:
                raise OutputError(
                    f"{self.path}: holds another request, which a call with `first` never replaces, since others may work there; choose "
                    "another folder, or remove this one"
                )
            new, resumed = self.replacement, None
            with suppress(OutputError):
                resumed = new.earlier(wanted, force=False, compare=compare) if new.record_path.exists() else None
            if resumed is None:
                wanted.write(self.anew().record_path)
            else:
                new._recover()
                begin_journal(new.path)
        say(f"{self.path}: what is there stays until its replacement is whole")
        return new, resumed

    def anew(self) -> Self:
        """Return where a replacement is made, empty."""
        new = self.replacement
        if new.path.exists():
            if not (new.path / JOURNALS).exists() and any(new.path.iterdir()):
                raise OutputError(f"{new.path}: frazil did not make it; move it away")
            half_removed = new.path.with_name(f"{_NEW}.{os.getpid()}.partial")  # which is cleared after a kill
            new.path.rename(half_removed)
            remove_own(half_removed)
        begin_journal(new.path)
        return new

    def finish(self) -> Path:
        """Put a replacement into place; return where everything is."""
        if self.path.name != _NEW:
            return self.path
        old = replace(self, path=self.path.parent)
        with output_errors(old.path):
            clear_leftovers(self.path)
            Ledger(self.path).settle()
            self.path.rename(old.path / _SWAP)
            old._recover()
        return old.path

    def abandon(self) -> None:
        """Take back that anything was begun; what is there otherwise stays."""
        with output_errors(self.path):
            if self.path.name == _NEW:
                remove_own(self.path)
            else:
                Ledger(self.path).remove([self.record_file])

    def remove(self) -> None:
        """Remove what the command wrote, and the folder if nothing else is in it. Hold it."""
        with output_errors(self.path):
            ledger = Ledger(self.path, self.parts)
            ledger.remove(list(ledger.entries))
            for own in (JOURNALS, LOG, ".turn", ".lock"):
                remove_own(self.path / own)
            with suppress(OSError):  # not empty
                self.path.rmdir()

    def check(self) -> list[str]:
        """Return the names of files that are gone; refuse those that somebody changed. Sizes and times first, then digests.

        Nothing is looked at while `unverified`.
        """
        if not _verifies.get():
            return []
        with output_errors(self.path):
            ledger = Ledger(self.path, self.parts)
            if changed := ledger.changed():
                more = f", like {len(changed) - 1} more" if len(changed) > 1 else ""
                raise OutputError(
                    f"{self.path / changed[0]}: changed since {self.record_type.written_by} wrote it{more}; move it away and rerun "
                    "the same command to write it again"
                )
            return ledger.lost()

    def _recover(self) -> None:
        """Set right what an earlier process was killed at. Nobody else may work in the folder."""
        if (self.path / _SWAP).exists():
            self._swap(self.path / _SWAP)
        if not is_settled(self.path):
            clear_leftovers(self.path)
            if (self.path / JOURNALS).exists():
                Ledger(self.path).settle()

    def _swap(self, swap: Path) -> None:
        """Put the files of a replacement into place, whatever an earlier call has put there already; the journals last."""
        if not is_settled(swap):  # its journal is in place, so everything is
            if not any(file.is_file() for file in swap.rglob("*")):
                remove_own(swap)
            return
        old, new = Ledger(self.path, self.parts), Ledger(swap, self.parts)
        moved = tuple(f"{part}/" for part in self.parts if not is_settled(swap / part))
        old.remove([name for name in old.entries.keys() - new.entries.keys() if not name.startswith(moved)])
        for name, entries in new.entries.items():
            old.entries.setdefault(name, []).extend(entries)
        names = [str(file.relative_to(swap)) for file in swap.rglob("*") if not file.is_dir() or file.is_symlink()]
        for name in sorted(
            names, key=lambda name: (name.startswith(JOURNALS), JOURNALS in name, name == self.record_file, name)
        ):
            target = self.path / name
            old.make_way(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            (swap / name).replace(target)
        remove_own(swap)


@contextmanager
def unverified() -> Iterator[None]:
    """Take the word of finished commands for what they wrote: for a million files on a slow file system."""
    token = _verifies.set(False)
    try:
        yield
    finally:
        _verifies.reset(token)


def final_place(path: Path) -> Path:
    """Return where a folder that a command works in will be in the end."""
    return path.parent if path.name == _NEW else path
