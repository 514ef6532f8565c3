"""Tables of picks in all formats: read by what a file is, and written for other programs as the paper's CSV and a STAR file a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from frazil.core.files import write_text
from frazil.core.records import Picks, TomogramHeader
from frazil.core.settings import Units
from frazil.io.motive_lists import SUFFIXES, read_motive_list
from frazil.io.star import read_particles, write_particles
from frazil.io.tables import PICK_COLUMNS, TablePicks, read_picks

READERS = {".star": read_particles, **dict.fromkeys(SUFFIXES, read_motive_list)}
"""Of the tables that are no CSV."""


def read_pick_table(path: Path, units: Units | None = None) -> list[TablePicks]:
    """Read picks, one record per tomogram and class. `units` is what coordinates are in, where the format leaves it open."""
    return READERS.get(path.suffix.lower(), read_picks)(path, units)


def write_pick_tables(folder: Path, picks: Sequence[Picks], headers: Mapping[str, TomogramHeader]) -> None:
    """Write ``particles.csv``, in voxels, and ``LABEL.star``, as RELION 5 and pytom-match-pick take it; `headers` are those of the runs."""
    lines = [",".join(PICK_COLUMNS)]
    for some in picks:
        for z, y, x in headers[some.run].to_voxel(some.centers_angstrom).tolist():
            lines.append(f"{some.run},{some.label},{x},{y},{z}")
    write_text(folder / "particles.csv", "\n".join(lines) + "\n")
    for label in sorted({some.label for some in picks}):
        of_class = [some for some in picks if some.label == label]
        voxel_size = headers[of_class[0].run].voxel_size_angstrom
        write_particles(folder / f"{label}.star", of_class, headers=headers, voxel_size_angstrom=voxel_size)
