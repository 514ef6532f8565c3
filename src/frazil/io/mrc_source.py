"""A folder of MRC tomograms with the picks in tables: the paper's CSV, or RELION 5 STAR files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from frazil.core.errors import MissingTomogramError, PickError, SourceError
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.core.settings import SourceSettings
from frazil.io.checks import refuse_picks_beyond_unit_voxels, refuse_unknown_voxel_size, select
from frazil.io.mrc import read_header, read_volume
from frazil.io.sources import Source
from frazil.io.star import is_particle_file, read_particles
from frazil.io.tables import TablePicks, read_picks

SUFFIXES = (".mrc", ".rec")


class MrcSource(Source):
    """MRC tomograms and a table of picks.

    A run is called as the table calls it. Its tomogram is ``<run>.mrc``, RELION's ``rec_<run>.mrc`` or Warp's
    ``<run>_10.00Apx.mrc``; ``.rec`` is taken too. Tomograms that no pick names are runs as well.
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
        if self._settings.voxel_size_angstrom is None and self.kind == "MRC + CSV":
            refuse_unknown_voxel_size(header)
        return replace(header, run=run, tilt_range_degrees=self._settings.tilt_range_degrees)

    def read(self, run: str) -> Tomogram:
        """See `Source.read`. MRC has no chunks: one chunk, present."""
        header, volume = self.header(run), read_volume(self._file(run))
        return Tomogram(header, volume, chunk_voxel=header.shape_voxel, chunk_present=np.ones((1, 1, 1), dtype=bool))

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """Run -> its tomograms; none where it is missing, several where it is not clear."""
        tomograms = tomogram_files(self.path)
        runs = {
            picks.tomogram: [file for file in tomograms if _belongs(file.stem, picks.tomogram)] for picks in self._table
        }
        claimed = {file for files in runs.values() for file in files}
        return runs | {file.stem: [file] for file in tomograms if file not in claimed and file.stem not in runs}

    @cached_property
    def _picks(self) -> list[Picks]:
        placed = []
        headers: dict[str, TomogramHeader | None] = {}
        for some in select(self._table, self._settings, str(self.path)):
            run = some.tomogram
            if run not in headers:
                headers[run] = self.header(run) if self._files[run] else None
            placed.append(some.placed(header := headers[run]))
            if header is not None and self._settings.voxel_size_angstrom is None:
                refuse_picks_beyond_unit_voxels(header, placed[-1:])
        return sorted(placed, key=lambda picks: (picks.run, picks.label))

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
                f"{self.path}: no tomogram of {run} ({run}.mrc or rec_{run}.mrc); there are {there}"
            )
        return files[0]


def tomogram_files(folder: Path) -> list[Path]:
    """MRC files directly in `folder`, sorted."""
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))


def open_folder(path: Path, settings: SourceSettings) -> MrcSource:
    """Open a folder of MRC files with picks in a CSV or in STAR files.

    Without ``settings.picks_file`` the folder is searched: one CSV, or any number of particle STAR files.
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
            raise PickError(f"{tables[0]}: no such file; name a CSV or a particles STAR file of picks")
    else:
        tables = _find_tables(path)
    if tables[0].suffix == ".star":
        return MrcSource(path, "MRC + STAR", [picks for table in tables for picks in read_particles(table)], settings)
    return MrcSource(path, "MRC + CSV", read_picks(tables[0]), settings)


def _find_tables(folder: Path) -> list[Path]:
    csvs, stars = sorted(folder.glob("*.csv")), sorted(folder.glob("*.star"))
    # if none lists particles, the reader of the first says why
    particles = [star for star in stars if is_particle_file(star)] or stars[:1]
    if (csvs and particles) or len(csvs) > 1:
        names = ", ".join(file.name for file in (*csvs, *particles))
        raise SourceError(f"{folder}: several tables of picks: {names}; name one of them as picks")
    if not csvs and not particles:
        raise SourceError(
            f"{folder}: MRC files but no table of picks; name as picks a CSV (experiment, particle_type, x, "
            "y, z) or a STAR file"
        )
    return csvs or particles


def _belongs(stem: str, tomogram: str) -> bool:
    name = re.sub(r"\.(mrc|rec|tomostar)$", "", tomogram)
    return re.fullmatch(rf"(rec_)?{re.escape(name)}(_\d+(\.\d+)?Apx)?", stem) is not None
