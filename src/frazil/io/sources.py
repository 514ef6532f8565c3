"""What a source of annotated tomograms can do, and how to open one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from jaxtyping import Bool

from frazil.core.errors import MissingMapError, PickError, SettingsError, SourceError
from frazil.core.reading import one_line
from frazil.core.records import Picks, Tomogram, TomogramHeader, same_voxel_size
from frazil.core.settings import SourceSettings
from frazil.io.checks import best

FORMS = (
    "(a) a copick configuration (.json) or a folder with copick.json or ExperimentRuns; "
    "(b) a CZII folder with static/ExperimentRuns and overlay/ExperimentRuns; "
    "(c) a folder of MRC tomograms with a CSV of picks (experiment, particle_type, x, y, z; or copick's); "
    "(d) a folder of MRC tomograms with particle STAR files (RELION, Warp, M, pytom-match-pick), tables of Dynamo (.tbl), or "
    "motive lists of TOM (.em)"
)

_LEVELS = 6


@lru_cache(maxsize=4)
def _reopened(path: Path, settings: SourceSettings, token: str) -> Source:
    """Open a source again in another process, once per `token`: a project may have changed between two of them."""
    return open_source(path, settings)


class Source(ABC):
    """Annotated tomograms, whatever their format. Picks and headers are cheap; voxels come one tomogram at a time.

    A copy in another process is not a pickle of all that was read: the source is opened again there.
    """

    kind: str
    """What the source is, in words."""

    def __init__(self, path: Path, settings: SourceSettings) -> None:
        self.path = path
        self._settings = settings
        self._token = uuid4().hex

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self._settings, self._token)

    @abstractmethod
    def runs(self) -> list[str]:
        """Return the names of the runs, sorted."""

    @abstractmethod
    def picks(self) -> list[Picks]:
        """Return all picks that pass the filters, sorted by run and label; NaN where a missing tomogram hides the scale."""

    def radii_angstrom(self) -> dict[str, float]:
        """Return the radius of the particle of each class that the source gives one for."""
        return {}

    @abstractmethod
    def header(self, run: str) -> TomogramHeader:
        """Return what is known of the run's tomogram without reading its voxels.

        A tomogram that is missing, or not the only choice, is a MissingTomogramError; any other fault a SourceError.
        """

    def read(self, run: str, planes: slice | None = None) -> Tomogram:
        """Read the run's tomogram, whole or only the planes (z) from start to stop of a slice, with dark particles."""
        tomogram = self._read(run, planes or slice(0, self.header(run).shape_voxel[0]))
        if self._settings.contrast == "bright":
            np.negative(tomogram.volume, out=tomogram.volume)
        return tomogram

    @abstractmethod
    def _read(self, run: str, planes: slice) -> Tomogram:
        """Read the run's tomogram with the gray values that it has."""

    def label_map(
        self, run: str, name: str, shape_voxel: Sequence[int], planes: slice | None = None
    ) -> Bool[np.ndarray, "z y x"]:
        """Return where a segmentation of the run is not 0, of all or some planes of a tomogram of this shape.

        A segmentation that is missing is a MissingMapError; one of another shape, or several, a SourceError.
        """
        raise MissingMapError(
            f"{self.path}: is no copick project, so it has no segmentation {name} of {run}; put tomograms, picks, and segmentations "
            "into one"
        )


class _Wrapped(Source):
    """A source that another stands behind."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.path, source._settings)
        self._source, self.kind = source, source.kind

    def runs(self) -> list[str]:
        return self._source.runs()

    def picks(self) -> list[Picks]:
        return self._source.picks()

    def radii_angstrom(self) -> dict[str, float]:
        return self._source.radii_angstrom()

    def header(self, run: str) -> TomogramHeader:
        return self._source.header(run)

    def _read(self, run: str, planes: slice) -> Tomogram:
        return self._source._read(run, planes)

    def label_map(
        self, run: str, name: str, shape_voxel: Sequence[int], planes: slice | None = None
    ) -> Bool[np.ndarray, "z y x"]:
        return self._source.label_map(run, name, shape_voxel, planes)


class SomeRuns(_Wrapped):
    """A source of which only some runs are seen."""

    def __init__(self, source: Source, runs: Sequence[str]) -> None:
        super().__init__(source)
        self._runs = sorted(runs)

    def runs(self) -> list[str]:
        """See `Source.runs`."""
        return list(self._runs)

    def picks(self) -> list[Picks]:
        """See `Source.picks`."""
        return [some for some in super().picks() if some.run in self._runs]


def only_runs(source: Source, runs: Sequence[str]) -> SomeRuns:
    """Return a source of which only these runs are seen, or all that have picks if none is named.

    Raises
    ------
    SettingsError : a run without picks.
    """
    picked = sorted({some.run for some in source.picks() if len(some)})
    if absent := sorted(set(runs) - set(picked)):
        raise SettingsError(f"run {absent[0]}: has no picks in {source.path}; those that have are {', '.join(picked)}")
    return SomeRuns(source, runs or picked)


class _WithMore(_Wrapped):
    """A source with the picks of a table beside its own."""

    def __init__(self, source: Source, table: Path) -> None:
        super().__init__(source)
        self._table = table

    def picks(self) -> list[Picks]:
        from frazil.io.pick_tables import read_pick_table

        own, more = super().picks(), []
        wanted = self._settings.labels
        for some in read_pick_table(self._table):
            if some.tomogram not in self.runs():
                raise PickError(
                    f"{self._table}: no run {some.tomogram} in {self.path}; there are {', '.join(self.runs())}"
                )
            if not wanted or some.label in wanted:
                more.append(best(some.placed(self.header(some.tomogram), some.tomogram), self._settings.min_score))
        return sorted([*own, *more], key=lambda picks: (picks.run, picks.label))


def open_source(path: Path, settings: SourceSettings) -> Source:
    """Open annotated tomograms; what lies at `path` decides the format, one of `FORMS`."""
    try:
        source = _open(path, settings)
        return source if settings.more_picks_file is None else _WithMore(source, Path(settings.more_picks_file))
    except OSError as fault:
        said = fault.strerror or one_line(fault)
        raise SourceError(f"{path}: cannot be read ({said}); check the path and its permissions") from None


def source_at(path: Path, settings: SourceSettings, voxel_size_angstrom: float, run: str) -> Source | None:
    """Open annotated tomograms at the level at which that of `run` has this voxel size; None if there is none."""
    for level in range(_LEVELS):
        source = open_source(path, settings.model_copy(update={"level": level}))
        try:
            if same_voxel_size(source.header(run).voxel_size_angstrom, voxel_size_angstrom):
                return source
        except SourceError:
            continue
    return None


def _open(path: Path, settings: SourceSettings) -> Source:
    from frazil.io.copick.project import CONFIG_NAME
    from frazil.io.copick.source import RUNS, open_config, open_tree
    from frazil.io.mrc_source import open_folder, tomogram_files

    if not path.exists():
        raise SourceError(f"{path}: no such file or folder; check the path")
    tree = any((path / part / RUNS).is_dir() for part in ("static", "overlay", ""))
    if settings.picks_file is not None and (tree or path.is_file() or (path / CONFIG_NAME).is_file()):
        raise SourceError(
            f"{path}: holds its own picks; leave out picks {settings.picks_file}, which is for folders of MRC tomograms"
        )
    if settings.match and (tree or path.is_file() or (path / CONFIG_NAME).is_file()):
        raise SourceError(
            f"{path}: its picks name their runs; leave out match {settings.match[0]}, which is for folders of MRC tomograms"
        )
    if path.is_file() and path.suffix == ".json":
        return open_config(path, settings, path=path)
    if (path / CONFIG_NAME).is_file():
        return open_config(path / CONFIG_NAME, settings, path=path)
    if (path / "static" / RUNS).is_dir() or (path / "overlay" / RUNS).is_dir():
        return open_tree(path, "CZII folder", settings, static=path / "static", overlay=path / "overlay")
    if (path / RUNS).is_dir():
        return open_tree(path, "copick project", settings, static=path, overlay=path)
    if path.is_dir() and tomogram_files(path):
        return open_folder(path, settings)
    raise SourceError(f"{path}: no annotated tomograms in a form that frazil reads; it reads {FORMS}")
