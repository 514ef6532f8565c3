"""A folder of MRC tomograms with the picks in tables: CSV, STAR, and those of Dynamo and TOM."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from frazil.core.errors import MissingTomogramError, PickError, SourceError
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.core.settings import SourceSettings
from frazil.io.checks import (
    bare_name,
    best,
    mrc_stem,
    refuse_picks_beyond_unit_voxels,
    refuse_unknown_voxel_size,
    select,
)
from frazil.io.motive_lists import is_motive_list
from frazil.io.mrc import read_header, read_volume
from frazil.io.pick_tables import READERS, read_pick_table
from frazil.io.sources import Source
from frazil.io.star import is_particle_file
from frazil.io.tables import TablePicks

_FOREIGN = {
    ".mod": "IMOD",
    ".coords": "TomoTwin or IMOD",
    ".box": "EMAN or crYOLO",
    ".cbox": "crYOLO",
    ".xml": "DeepFinder or PyTom",
    ".json": "EMAN2 or another program",
}
_WARP = re.compile(r"_\d+(?:\.\d+)?Apx\Z")
"""What Warp puts after the name of a tilt series."""


class MrcSource(Source):
    """MRC tomograms and a table of picks.

    A run is a tomogram, called as the table calls it; where that has several names for it, by the shortest. The tomogram is
    ``<run>.mrc``, RELION's ``rec_<run>.mrc`` or Warp's ``<run>_10.00Apx.mrc``; other suffixes of MRC files are taken too, and
    compressed files. Tomograms that no pick names are runs as well.
    """

    def __init__(self, path: Path, kind: str, table: Sequence[TablePicks], settings: SourceSettings) -> None:
        super().__init__(path, settings)
        self.kind = kind
        self._table = table

    def runs(self) -> list[str]:
        """See `Source.runs`."""
        return sorted(self._files)

    def picks(self) -> list[Picks]:
        """See `Source.picks`. Raises SourceError where a tomogram cannot be read, or its voxel size is not valid."""
        return list(self._picks)

    def header(self, run: str) -> TomogramHeader:
        """See `Source.header`."""
        header = read_header(self._file(run), self._settings.voxel_size_angstrom)
        if self._settings.voxel_size_angstrom is None and any(picks.unit == "voxel" for picks in self._table):
            refuse_unknown_voxel_size(header)
        return replace(header, run=run, tilt_range_degrees=self._settings.tilt_range_degrees)

    def _read(self, run: str, planes: slice) -> Tomogram:
        """See `Source._read`. MRC has no chunks: one chunk, present."""
        header, volume = self.header(run), read_volume(self._file(run), planes)
        return Tomogram(
            header,
            volume,
            chunk_voxel=header.shape_voxel,
            chunk_present=np.ones((1, 1, 1), dtype=bool),
            first_plane=planes.start,
        )

    @cached_property
    def _names(self) -> dict[str, str]:
        """Name in the table -> run: the same for all names of one tomogram, so that it is not split from itself."""
        first: dict[tuple[str, ...], str] = {}
        names = {}
        for name in sorted({picks.tomogram for picks in self._table}, key=lambda name: (len(name), name)):
            files = self._files_of(self._tomogram(name))
            place = tuple(file.name for file in files) or (bare_name(name),)
            names[name] = first.setdefault(place, bare_name(name) if "/" in name else name)
        return names

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """Run -> its tomograms; none where it is missing, several where it is not clear."""
        tomograms = tomogram_files(self.path)
        runs = {run: self._files_of(self._tomogram(name)) for name, run in reversed(self._names.items())}
        claimed = {file for files in runs.values() for file in files}
        left = {mrc_stem(file) or file.name: [file] for file in tomograms if file not in claimed}
        return runs | {name: files for name, files in left.items() if name not in runs}

    @cached_property
    def _picks(self) -> list[Picks]:
        placed = []
        headers: dict[str, TomogramHeader | None] = {}
        for some in select(self._table, self._settings, str(self.path)):
            run = self._names[some.tomogram]
            if run not in headers:
                headers[run] = self.header(run) if self._files[run] else None
            placed.append(best(some.placed(header := headers[run], run), self._settings.min_score))
            if header is not None and self._settings.voxel_size_angstrom is None:
                refuse_picks_beyond_unit_voxels(header, placed[-1:])
        return sorted(placed, key=lambda picks: (picks.run, picks.label))

    @cached_property
    def _meant(self) -> dict[str, list[Path]]:
        """Name -> the tomograms that it may mean, with or without RELION's prefix and Warp's suffix."""
        meant: dict[str, list[Path]] = {}
        for file in tomogram_files(self.path):
            stem = mrc_stem(file) or ""
            bare = _WARP.sub("", stem)
            for name in {stem, bare, stem.removeprefix("rec_"), bare.removeprefix("rec_")}:
                meant.setdefault(name, []).append(file)
        return meant

    def _files_of(self, name: str) -> list[Path]:
        """Return the tomograms that a name in a table may mean; one that it spells out goes before one that it only hints at."""
        bare = bare_name(name)
        return self._meant.get(bare) or self._meant.get(_WARP.sub("", bare.removeprefix("rec_"))) or []

    def _tomogram(self, name: str) -> str:
        """Return what the file of a tomogram is called that a table calls `name`."""
        bare = bare_name(name)
        for pair in self._settings.match:
            file, _, wanted = pair.partition("=")
            if found := re.fullmatch(re.escape(wanted).replace(r"\*", "(.*)"), bare):
                return file.replace("*", found[1]) if found.groups() else file
        return name

    def _file(self, run: str) -> Path:
        if run not in self._files:
            raise SourceError(f"{self.path}: no run {run}; there are {', '.join(self.runs())}")
        files = self._files[run]
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise SourceError(f"{self.path}: several tomograms of {run}: {names}; keep one of them in the folder")
        if not files:
            there = ", ".join(file.name for file in tomogram_files(self.path)) or "none"
            raise MissingTomogramError(
                f"{self.path}: no tomogram of {run} ({run}.mrc or rec_{run}.mrc); there are {there}; match those with other "
                f"names, e.g. {mrc_stem(tomogram_files(self.path)[0])}={run}"
            )
        return files[0]


def tomogram_files(folder: Path) -> list[Path]:
    """MRC files directly in `folder`, sorted."""
    return sorted(file for file in folder.iterdir() if mrc_stem(file) is not None)


def open_folder(path: Path, settings: SourceSettings) -> MrcSource:
    """Open a folder of MRC files with tables of picks.

    Without ``settings.picks_file`` the folder is searched: one CSV, or any number of particle STAR files or of motive lists.
    """
    for option, value in (
        ("level", settings.level or None),
        ("tomogram type", settings.tomogram_type),
        ("voxel spacing", settings.voxel_spacing_angstrom),
    ):
        if value is not None:
            raise SourceError(f"{path}: MRC files have no {option} {value}; leave it out")
    if settings.picks_file is not None:
        tables = [Path(settings.picks_file)]
        if not tables[0].is_file():
            raise PickError(f"{tables[0]}: no such file; name a table of picks")
        _refuse_foreign(tables[0])
    else:
        tables = _find_tables(path)
    each = [read_pick_table(table, settings.units) for table in tables]
    _refuse_copies(each)
    suffix = tables[0].suffix.lower()
    kind = f"MRC + {suffix[1:].upper() if suffix in READERS else 'CSV'}"
    return MrcSource(path, kind, [picks for records in each for picks in records], settings)


def _refuse_copies(tables: Sequence[list[TablePicks]]) -> None:
    """Refuse two files with the same places, whose names would be two classes."""
    places = [
        {
            (name, *place)
            for some in records
            for name in [bare_name(some.tomogram)]
            for place in np.round(some.places, 2).tolist()
        }
        for records in tables
    ]
    for (one, ours), (other, theirs) in combinations(zip(tables, places, strict=True), 2):
        if {some.label for some in one} != {some.label for some in other} and (
            2 * len(ours & theirs) > min(len(ours), len(theirs))
        ):
            raise PickError(
                f"{one[0].origin} and {other[0].origin}: {len(ours & theirs)} particles at the same places, so one is a copy "
                "or an earlier iteration, and no other class; move it away, or name one of them as picks"
            )


def _find_tables(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    csvs, stars = ([file for file in files if file.suffix.lower() == suffix] for suffix in (".csv", ".star"))
    # if none lists particles, the reader of the first says why
    particles = [star for star in stars if is_particle_file(star)] or stars[:1]
    kinds = [tables for tables in (csvs, particles, [file for file in files if is_motive_list(file)]) if tables]
    if len(kinds) > 1 or len(csvs) > 1:
        names = ", ".join(file.name for tables in kinds for file in tables)
        raise SourceError(f"{folder}: several tables of picks: {names}; name one of them as picks")
    if not kinds:
        for file in files:
            if file.suffix.lower() not in (".xml", ".json"):  # these may be anything
                _refuse_foreign(file)
        raise SourceError(
            f"{folder}: MRC files but no table of picks; name as picks a CSV (experiment, particle_type, x, y, z), a STAR file, a "
            "table of Dynamo (.tbl), or a motive list (.em)"
        )
    return kinds[0]


def _refuse_foreign(file: Path) -> None:
    """Refuse picks in a format of another program, and say how to bring them in."""
    suffix = file.suffix.lower()
    if suffix not in _FOREIGN:
        return
    remedy = "write them to a CSV with the columns experiment, particle_type, x, y, z (in voxels)"
    if suffix == ".mod":
        remedy = f"list the points with IMOD's model2point {shlex.quote(str(file))} points.txt, and {remedy}"
    raise PickError(f"{file}: picks in the format of {_FOREIGN[suffix]}, which frazil does not read; {remedy}")
