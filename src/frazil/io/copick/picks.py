"""The pick files of a copick run, by their names; each is read when it is wanted."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from frazil.core.errors import PickError, SourceError
from frazil.core.files import one_line
from frazil.core.records import Picks
from frazil.io.copick.library import CopickRootFSSpec
from frazil.io.copick.picks_json import parse_picks, split_name


@dataclass(frozen=True)
class PickFile:
    """One pick file. `content` gets its JSON; `origin` is its path, for messages."""

    run: str
    label: str
    user: str | None
    session: str | None
    origin: str
    content: Callable[[], Any]

    def load(self) -> Picks:
        """Read the picks.

        Raises
        ------
        PickError : the file cannot be read, or holds no picks.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # copick and fsspec announce changes of their own
                content = self.content()
        except (OSError, ValueError) as fault:
            raise PickError(
                f"{self.origin}: damaged, it cannot be read ({one_line(fault)}); correct the file or take it out of the folder"
            ) from None
        return parse_picks(
            content, run=self.run, label=self.label, user=self.user, session=self.session, origin=self.origin
        )


def pick_files(run: Any) -> list[PickFile]:
    """Return all pick files of a copick run, static and overlay.

    Plain folders are listed by us, because copick fails on Kaggle's ``<object>.json``.

    Raises
    ------
    SourceError : the folder cannot be listed.
    PickError : a file's name is none of copick's or Kaggle's, or a Kaggle file cannot be read.
    """
    if isinstance(run.root, CopickRootFSSpec):
        places = {path: fs for fs, path in ((run.fs_static, run.static_path), (run.fs_overlay, run.overlay_path))}
        return [file for path, fs in places.items() for file in _files_in(run.name, fs, f"{path}/Picks")]
    with reading(run.name):
        return [
            PickFile(
                run=run.name,
                label=picks.pickable_object_name,
                user=picks.user_id,
                session=picks.session_id,
                origin=f"{run.name}: {picks.user_id}_{picks.session_id}_{picks.pickable_object_name}",
                content=partial(_load_through_copick, picks),
            )
            for picks in run.picks
        ]


@contextmanager
def reading(origin: str) -> Iterator[None]:
    """Turn what copick and its file systems raise into one line.

    Raises
    ------
    SourceError : `origin` cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # copick and fsspec announce changes of their own
            yield
    except ImportError as fault:
        raise SourceError(
            f"{origin}: its storage needs another package ({one_line(fault)}); install it with pip"
        ) from None
    except (OSError, ValueError, KeyError) as fault:
        raise SourceError(
            f"{origin}: cannot be read ({type(fault).__name__}: {one_line(fault)}); check the path and the connection"
        ) from None


def _files_in(run: str, fs: Any, folder: str) -> Iterator[PickFile]:
    with reading(folder):
        names = sorted(str(name) for name in fs.glob(f"{folder}/*.json"))
    for name in names:
        if Path(name).name.startswith("."):
            continue
        label, user, session = split_name(Path(name).stem, name)
        file = PickFile(run, label, user, session, name, partial(_load_json, fs, name))
        if user is None:  # Kaggle's names are silent, its files are not
            picks = file.load()
            file = PickFile(run, label, picks.user, picks.session, name, file.content)
        yield file


def _load_json(fs: Any, name: str) -> Any:
    return json.loads(fs.cat_file(name))


def _load_through_copick(picks: Any) -> Any:
    return picks.load().model_dump()
