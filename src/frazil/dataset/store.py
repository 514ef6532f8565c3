"""The box store: boxes in Zarr, tables in CSV, and a description that says what they are.

STORE/dataset.json         StoreDescription; written last
STORE/particles.csv        one row per box
STORE/neighbours.csv       every other annotated particle in a box
STORE/left_out.csv         picks without a box, and why
STORE/curation.json        the request to `frazil curate` (`frazil.dataset.curate`)
STORE/boxes.zarr/volume    (n, D, D, D) float32, raw gray values, 0 where not measured; one chunk per box
STORE/boxes.zarr/measured  (n, D, D, D) bool; an absent chunk means that all voxels were measured
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from jaxtyping import Bool, Float32, Int64

from frazil.core.errors import StoreError
from frazil.core.records import Moments
from frazil.core.settings import Normalisation
from frazil.dataset.description import (
    DESCRIPTION,
    REMEDY,
    StoreDescription,
    check_tables,
    read_description,
    read_store_table,
)
from frazil.dataset.tables import NEIGHBOURS, PARTICLES
from frazil.io.zarr_arrays import open_array
from frazil.volume.intensity import moments, z_score

__all__ = ["BOXES", "DESCRIPTION", "BoxStore", "StoreDescription"]

BOXES = "boxes.zarr"

_MOMENTS_TOLERANCE = 1e-6
"""In standard deviations: rounding differs between machines by less, one foreign voxel in 64^3 makes more."""


@dataclass(eq=False)
class BoxStore:
    """A finished box store, read.

    Parameters
    ----------
    path : the folder.
    description : what it is.
    particles : one row per box, in the order of the boxes: box, run, label, split, centre_{z,y,x}_angstrom,
        centre_{z,y,x}_voxel (of the tomogram), position_{z,y,x} (in [0, 1]), box_centre_{z,y,x}_voxel, padding (share
        of voxels that were not measured), mean_padded, std_padded, mean_measured, std_measured, rotation_zz ...
        rotation_xx (NaN where unknown), user, session. `frazil.dataset.tables` says what they mean.
    neighbours : box, label, offset_{z,y,x}_voxel from voxel D/2 of the box: every other annotated particle whose center
        lies in it.
    """

    path: Path
    description: StoreDescription
    particles: pd.DataFrame
    neighbours: pd.DataFrame

    @classmethod
    def open(cls, path: Path) -> BoxStore:
        """Open a store; tables are read and checked, voxels are not read.

        Raises
        ------
        StoreError : no store, a newer schema, or a part that is missing or damaged.
        """
        description = read_description(path)
        check_tables(path, description.table_digests)
        store = cls(path, description, read_store_table(path / PARTICLES), read_store_table(path / NEIGHBOURS))
        store._check_boxes()
        return store

    @property
    def digest(self) -> str:
        """Digest of everything in the store; the same data gives the same digest wherever it lies."""
        return self.description.digest

    def __len__(self) -> int:
        return len(self.particles)

    def __repr__(self) -> str:
        return f"BoxStore({str(self.path)!r}: {len(self):,} boxes of {self.description.box_size_voxel}^3 voxels)"

    def _repr_html_(self) -> str:
        from frazil.dataset.show import store_html

        return store_html(self)

    def boxes(self, split: str) -> Int64[np.ndarray, "n"]:
        """Return the indices of the boxes of ``train`` or ``validation``."""
        return self.particles.loc[self.particles["split"] == split, "box"].to_numpy(dtype=np.int64)

    def volume(self, box: int) -> Float32[np.ndarray, "d d d"]:
        """Return the raw gray values of a box; voxels that were not measured are 0.

        Raises
        ------
        StoreError : no such box, or its file is damaged.
        """
        volume = np.asarray(self._read("volume", box), dtype=np.float32)
        found, expected = moments(volume), self.moments(box, "padded")
        tolerance = _MOMENTS_TOLERANCE * expected.std
        if not (abs(found.mean - expected.mean) < tolerance and abs(found.std - expected.std) < tolerance):
            raise StoreError(
                f"{self.path / BOXES}: box {box} is damaged, its mean is {found.mean:.6g} and not {expected.mean:.6g}; "
                f"{REMEDY}"
            )
        return volume

    def measured(self, box: int) -> Bool[np.ndarray, "d d d"]:
        """Return which voxels of a box were measured; see `volume` for errors."""
        return np.asarray(self._read("measured", box), dtype=bool)

    def moments(self, box: int, normalisation: Normalisation) -> Moments:
        """Return mean and standard deviation of a box over all voxels (``padded``) or the ``measured`` ones."""
        row = self.particles.iloc[box]
        return Moments(float(row[f"mean_{normalisation}"]), float(row[f"std_{normalisation}"]))

    def z_scored(self, box: int, normalisation: Normalisation) -> Float32[np.ndarray, "d d d"]:
        """Return the z-scored gray values of a box (eq. 1).

        Parameters
        ----------
        normalisation : ``padded`` takes mean and standard deviation over the whole box (the paper); ``measured`` over the
            measured voxels, and the others become 0.

        Raises
        ------
        StoreError : no such box, or its file is damaged.
        """
        measured = self.measured(box) if normalisation == "measured" else None
        return z_score(self.volume(box), self.moments(box, normalisation), measured)

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        path = self.path / BOXES
        try:
            store = zarr.DirectoryStore(str(path))
            names = ("volume", "measured")
            return {name: open_array(store, name, str(path), StoreError, remedy=REMEDY) for name in names}
        except (KeyError, OSError) as fault:
            raise StoreError(f"{path}: missing or damaged ({type(fault).__name__}: {fault}); {REMEDY}") from None

    def _read(self, name: str, box: int) -> Any:
        if not 0 <= box < len(self):
            raise StoreError(f"{self.path}: no box {box}; there are {len(self)}, counted from 0")
        return self._arrays[name][box]

    def _check_boxes(self) -> None:
        """Check that no box is missing: an absent chunk would read as zeros."""
        count, edge = self.description.box_count, self.description.box_size_voxel
        if len(self.particles) != count:
            raise StoreError(f"{self.path / PARTICLES}: {len(self.particles)} rows for {count} boxes; {REMEDY}")
        for name, array in self._arrays.items():
            if array.shape != (count, edge, edge, edge):
                raise StoreError(
                    f"{self.path / BOXES}: {name} has the shape {array.shape}, expected {count} boxes of {edge}^3; {REMEDY}"
                )
        padded = set(np.flatnonzero(self.particles["padding"].to_numpy() > 0).tolist())
        needed = {"volume": range(count), "measured": padded}
        there = {name: {file.name for file in (self.path / BOXES / name).iterdir()} for name in needed}
        if missing := sorted(
            {box for name, boxes in needed.items() for box in boxes if f"{box}.0.0.0" not in there[name]}
        ):
            raise StoreError(
                f"{self.path / BOXES}: {len(missing)} of {count} boxes are missing, the first is {missing[0]}; {REMEDY}"
            )


def create_arrays(path: Path, *, boxes: int, box_size_voxel: int) -> dict[str, Any]:
    """Create the arrays ``volume`` and ``measured`` for boxes, unless they are there; one chunk per box.

    Neither compressed nor with a checksum: gray values are noise, which shrinks little and slowly, and a curation should
    take about as long as reading the tomogram. The moments in the particle table find damage.
    """
    group = _open_group(path)
    shape = (boxes, *[box_size_voxel] * 3)
    layout = {"chunks": (1, *shape[1:]), "dimension_separator": "."}
    grey = {"dtype": "<f4", "fill_value": 0, "compressor": None, "write_empty_chunks": True}
    return {
        "volume": group.require_dataset("volume", shape, **grey, **layout),
        "measured": group.require_dataset("measured", shape, dtype=bool, fill_value=True, **layout),
    }


def _open_group(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # zarr 2 announces that zarr 3 renames its stores
        return zarr.open_group(zarr.DirectoryStore(str(path)), mode="a")
