"""The output folder of a command: resume, refuse, replace and lock, by the same rules for all commands.

Each command first writes a record that says what the folder holds (`Document`). From then on:

- the same request resumes, or finds that nothing is left to do;
- a different request is refused, unless ``--force`` is given or the earlier call finished nothing;
- a file that the command would write but did not is never touched, not even with ``--force``;
- one process at a time works in a folder, and the operating system releases the lock even after a kill.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from frazil.core.documents import Document, differences
from frazil.core.errors import OutputError
from frazil.core.files import locked, make_folder, output_errors, read_json

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
    """

    path: Path
    record_file: str
    record_type: type[Record]
    owns: tuple[str, ...]

    @property
    def record_path(self) -> Path:
        """Where the record is."""
        return self.path / self.record_file

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
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is a file; choose a folder")
        with output_errors(self.path):
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

        Parameters
        ----------
        shared : several processes may hold it at the same time, each for other files; see `turn`.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        make_folder(self.path)
        try:
            with locked(self.path / ".lock", shared=shared):
                yield
        finally:
            if made and not self.record_path.exists() and not self.written():
                with suppress(OSError):
                    for lock in (".lock", ".turn"):
                        (self.path / lock).unlink(missing_ok=True)
                    for folder in made:
                        folder.rmdir()  # fails where somebody else put something

    def turn(self) -> AbstractContextManager[None]:
        """Wait for the others that share the folder, for what only one may do at a time, such as writing the record."""
        return locked(self.path / ".turn", wait=True)

    def start(self, record: Record) -> None:
        """Remove what an earlier call wrote, then write the record of this one.

        A kill in between leaves the earlier record with a part of its files, which is refused or cleared like the whole.
        """
        with output_errors(self.path):
            for path in self.written():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        record.write(self.record_path)
