"""The paper's table of picks: a CSV with experiment, particle_type and x, y, z in voxels of the tomogram."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frazil.core.errors import PickError
from frazil.core.records import Picks, TomogramHeader
from frazil.io.csv_table import read_rows
from frazil.io.names import clean_name

if TYPE_CHECKING:
    from jaxtyping import Float

COLUMNS = ("experiment", "particle_type", "x", "y", "z")


@dataclass(frozen=True)
class VoxelPicks:
    """Picks of one class in one tomogram, in voxels counted from the centre of voxel (0, 0, 0)."""

    tomogram: str
    label: str
    centers_voxel: Float[np.ndarray, "n 3"]
    origin: str
    user: str | None = None
    session: str | None = None

    def picks(self, run: str, header: TomogramHeader) -> Picks:
        """Return the picks in angstrom."""
        return Picks(run, self.label, self.centers_voxel * header.voxel_size_angstrom, origin=self.origin)

    def unplaced(self, run: str) -> Picks:
        """Return the picks with NaN for centres: without the tomogram nobody knows its voxel size."""
        return Picks(run, self.label, np.full_like(self.centers_voxel, np.nan), origin=self.origin)


def read_table(path: Path) -> list[VoxelPicks]:
    """Read the table; one record for each tomogram and class.

    A tomogram may be named with or without ``.mrc``. Classes become names that copick takes (``beta_amylase`` ->
    ``beta-amylase``).

    Raises
    ------
    PickError : the file cannot be read, a column is missing, or a cell cannot be used (line, column and value are
        named).
    """
    centers: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for row in read_rows(path, COLUMNS, PickError):
        label = clean_name(row.text("particle_type"))
        if not label:
            raise row.fault(
                "particle_type", row.cells["particle_type"], "a class name with letters or digits is expected"
            )
        key = (row.text("experiment").removesuffix(".mrc"), label)
        centers[key].append([row.number(axis) for axis in "zyx"])
    return [VoxelPicks(tomogram, label, np.array(places), str(path)) for (tomogram, label), places in centers.items()]
