"""The pick files of a copick run, by their names; each is read when it is wanted. xyz becomes zyx here.

The copick library is imported here, without what its import does to the program: each of its modules, also those that it imports
when they are needed, gives the root logger a handler and sets it to INFO.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frazil.core.console import detail
from frazil.core.errors import PickError, SourceError
from frazil.core.reading import one_line, parse_json, read_through
from frazil.core.records import Picks

_root = logging.getLogger()
_level, _handlers = _root.level, list(_root.handlers)

import copick  # noqa: E402
import copick.util.log  # noqa: E402
from copick.impl.filesystem import CopickConfigFSSpec, CopickRootFSSpec  # noqa: E402
from copick.util.formats import dynamo_to_copick_transform, em_to_copick_transform  # noqa: E402
from copick.util.reconnecting_fs import ReconnectingFileSystem  # noqa: E402
from copick.util.relion import relion_rows_to_poses  # noqa: E402

copick.util.log.get_logger = lambda name, debug=False: logging.getLogger(name)
_root.setLevel(_level)
_root.handlers[:] = _handlers

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = [
    "CopickConfigFSSpec",
    "CopickRootFSSpec",
    "copick",
    "dynamo_to_copick_transform",
    "em_to_copick_transform",
    "relion_rows_to_poses",
]

_NETWORK = (
    "aiohttp",
    "aiobotocore",
    "botocore",
    "cryoet_data_portal",
    "gql",
    "graphql",
    "paramiko",
    "requests",
    "urllib3",
)
"""Packages that reach other machines and have errors of their own."""

_REMEDY = "correct the file or remove it from the folder"


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
        """Read the picks; xyz becomes zyx here. A user or session that the name does not say is taken from the content.

        The center of a particle is its location plus the shift in its transformation. Orientations are unknown (None)
        where the file says ``trust_orientation: false`` and where every transformation is the identity, which is what
        tools write that know none.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # copick and fsspec announce changes of their own
                content = self.content()
        except (OSError, ValueError) as fault:
            raise PickError(f"{self.origin}: damaged ({one_line(fault)}); {_REMEDY}") from None
        if not isinstance(content, dict) or "points" not in content:
            raise PickError(f"{self.origin}: it has no points, so it is not a copick pick file; {_REMEDY}")
        if (unit := content.get("unit", "angstrom")) != "angstrom":
            raise PickError(f"{self.origin}: locations in {unit!r}, expected angstrom; {_REMEDY}")
        points = content["points"] or []
        if not isinstance(points, list):
            raise PickError(f"{self.origin}: points is not a list; {_REMEDY}")
        each = [(point, f"{self.origin}: point {index}") for index, point in enumerate(points)]
        locations = np.array([_location(*one) for one in each], dtype=np.float64).reshape(-1, 3)
        matrices = np.array([_matrix(*one) for one in each], dtype=np.float64).reshape(-1, 4, 4)
        trusted = content.get("trust_orientation") is not False
        return Picks(
            run=self.run,
            label=self.label,
            centers_angstrom=np.ascontiguousarray((locations + matrices[:, :3, 3])[:, ::-1]),
            rotations=known_rotations(matrices[:, :3, :3], self.origin) if trusted else None,
            user=self.user if self.user is not None else content.get("user_id"),
            session=self.session if self.session is not None else content.get("session_id"),
            origin=self.origin,
            scores=_scores(points),
        )


def take_folders_literally(root: Any) -> Any:
    """Return a copick project that finds what lies in folders with ``[``, ``*`` or ``?`` in their names.

    copick lists folders by patterns, and takes their names for a part of the pattern; it also takes three times as long.
    """
    for fs in {getattr(root, name, None) for name in ("fs_static", "fs_overlay")}:
        if isinstance(fs, ReconnectingFileSystem) and "glob" not in vars(fs):  # projects at one place share it
            fs.glob = partial(_glob_in, fs, fs.glob)
    return root


def _glob_in(fs: Any, glob: Callable[..., Any], pattern: str, *, detail: bool = False, **options: Any) -> Any:
    folder, _, name = pattern.rstrip("/").rpartition("/")
    if "**" in name and not set(folder) & set("[*?"):
        return glob(pattern, detail=detail, **options)
    try:
        inside = fs.ls(folder, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        inside = []
    found = {one["name"]: one for one in inside if fnmatchcase(one["name"].rstrip("/").rpartition("/")[2], name)}
    return found if detail else sorted(found)


def pick_files(run: Any) -> list[PickFile]:
    """Return all pick files of a copick run, static and overlay.

    Plain folders are listed by us, because copick fails on Kaggle's ``<object>.json``.
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


class _Details(logging.Handler):
    """Puts warnings of libraries into the log of frazil: a connection that fails is tried again and again, and says so each time."""

    def emit(self, record: logging.LogRecord) -> None:
        detail(f"{record.name}: {record.getMessage()}")


_details = _Details(logging.WARNING)


@contextmanager
def reading(origin: str) -> Iterator[None]:
    """Turn what copick and its file systems raise while `origin` is read into a SourceError of one line."""
    _root.addHandler(_details)
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
    except Exception as fault:
        if type(fault).__module__.partition(".")[0] not in _NETWORK:
            raise
        raise SourceError(
            f"{origin}: not reached ({type(fault).__name__}: {one_line(fault)}); check the connection and the access rights"
        ) from None
    finally:
        _root.removeHandler(_details)


def _files_in(run: str, fs: Any, folder: str) -> Iterator[PickFile]:
    with reading(folder):
        try:  # a pattern would pass over a folder that may not be read
            names = sorted(name for one in fs.ls(folder, detail=False) if (name := str(one)).endswith(".json"))
        except (FileNotFoundError, NotADirectoryError):
            names = []
    for name in names:
        if Path(name).name.startswith("."):
            continue
        label, user, session = split_name(Path(name).stem, name)
        file = PickFile(run, label, user, session, name, partial(_load_json, fs, name))
        if user is None:  # Kaggle's names are silent, its files are not
            picks = file.load()
            file = replace(file, user=picks.user, session=picks.session)
        yield file


def _load_json(fs: Any, name: str) -> Any:
    return parse_json(read_through(fs, name, PickError), name, PickError, remedy=_REMEDY)


def _load_through_copick(picks: Any) -> Any:
    return picks.load().model_dump()


def split_name(stem: str, origin: str) -> tuple[str, str | None, str | None]:
    """Return label, user and session of ``<user>_<session>_<object>`` or of Kaggle's plain ``<object>``."""
    parts = stem.split("_")
    if len(parts) == 1 and parts[0]:
        return parts[0], None, None
    if len(parts) == 3 and all(parts):
        return parts[2], parts[0], parts[1]
    raise PickError(
        f"{origin}: the name is neither <object>.json nor <user>_<session>_<object>.json; rename it (no other "
        "underscores)"
    )


def known_rotations(rotations_xyz: Float[np.ndarray, "n 3 3"], origin: str) -> Float[np.ndarray, "n 3 3"] | None:
    """Return rotations that act on zyx vectors, or None where all are the identity."""
    if np.allclose(rotations_xyz, np.eye(3), atol=1e-6):
        return None
    improper = ~np.isclose(rotations_xyz @ rotations_xyz.transpose(0, 2, 1), np.eye(3), atol=1e-3).all(axis=(1, 2))
    improper |= np.linalg.det(rotations_xyz) < 0
    if improper.any():
        index = int(np.argmax(improper))
        raise PickError(
            f"{origin}: the orientation of point {index} is not a rotation (determinant "
            f"{np.linalg.det(rotations_xyz[index]):.3g}); correct it, or set trust_orientation to false"
        )
    return np.ascontiguousarray(rotations_xyz[:, ::-1, ::-1])


def _scores(points: list[Any]) -> Float[np.ndarray, "n"] | None:
    """Return the scores; None where a point has none."""
    scores = [point.get("score") for point in points]
    return np.array(scores, dtype=np.float64) if all(type(score) in (int, float) for score in scores) else None


def _location(point: Any, origin: str) -> list[float]:
    try:
        location = [point["location"][axis] for axis in "xyz"]
    except (KeyError, TypeError, IndexError):
        raise PickError(f"{origin} has no location with x, y and z; {_REMEDY}") from None
    if any(type(value) not in (int, float) or not math.isfinite(value) for value in location):
        raise PickError(f"{origin} has the location {location} (x, y, z), which is not finite; {_REMEDY}")
    return location


def _matrix(point: Any, origin: str) -> Float[np.ndarray, "4 4"]:
    matrix = point.get("transformation_")
    try:
        values = np.eye(4) if matrix is None else np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    # not np.allclose, which takes ten times as long
    if values.shape != (4, 4) or not np.isfinite(values).all() or np.abs(values[3] - (0, 0, 0, 1)).max() > 1e-5:
        raise PickError(
            f"{origin} has a transformation_ that is not a 4 x 4 matrix with 0 0 0 1 in its last row; {_REMEDY}"
        )
    return values
