"""Picks of several runs as tables for other programs: the paper's CSV, and a STAR file for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from frazil.core.files import write_text
from frazil.core.records import Picks, TomogramHeader
from frazil.io.star import write_particles
from frazil.io.tables import PICK_COLUMNS


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
