"""A tomogram store on disk: whole tomograms, the particles in them, what a particle of each class looks like.

::

    STORE/dataset.json           what it is; written last
    STORE/particles.csv          a row per particle
    STORE/templates.npz          the average of each class
    STORE/tomograms/00000/       volume (float16, in units of the tomogram's spread), measured (where not all of it was),
                                 maps (where there are label maps)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from jaxtyping import Float32

from frazil.core.errors import StoreError
from frazil.core.ledger import Ledger
from frazil.core.records import Layout, Moments
from frazil.dataset.description import DESCRIPTION, REMEDY, check_tables, read_store_table
from frazil.dataset.split import TRAIN
from frazil.dataset.tables import CENTER_VOXEL, PARTICLES, ROTATION
from frazil.dataset.tomograms.description import TomogramStoreDescription
from frazil.io.npz import read_npz
from frazil.io.zarr_arrays import open_array

TOMOGRAMS = "tomograms"
TEMPLATES = "templates.npz"
CHUNK_VOXEL = 64


@dataclass(eq=False)
class TomogramStore:
    """A finished tomogram store, read.

    Parameters
    ----------
    path : the folder.
    description : what it is.
    particles : one row per particle: run, label, split, centre_{z,y,x}_voxel, rotation_zz ... rotation_xx (NaN where unknown). Particles
        outside all regions, in the gap between two splits, are in the split ``gap``; they are in layouts all the same.
    """

    path: Path
    description: TomogramStoreDescription
    particles: pd.DataFrame

    @classmethod
    def open(cls, path: Path) -> TomogramStore:
        """Open a store; tables are read and checked, voxels are not read.

        Raises
        ------
        StoreError : no store, a newer schema, or a part that is missing or damaged.
        """
        description = TomogramStoreDescription.read(path / DESCRIPTION, StoreError)
        if description.digest != description.own_digest():
            raise StoreError(f"{path / DESCRIPTION}: damaged or edited, its digest does not fit; {REMEDY}")
        check_tables(path, description.table_digests)
        if lost := Ledger(path).lost():
            raise StoreError(f"{path / lost[0]}: missing; {REMEDY}")
        store = cls(path, description, read_store_table(path / PARTICLES))
        if not store._describes_particles():
            raise StoreError(f"{path / PARTICLES}: damaged, it does not fit what {DESCRIPTION} says; {REMEDY}")
        return store

    def _describes_particles(self) -> bool:
        """Return whether the particles are of its runs and classes, in their tomograms, and some of them for training."""
        said, rows = self.description, self.particles
        try:
            shapes = np.array([said.tomograms[run].shape_voxel for run in rows["run"]]).reshape(-1, 3)
            centers, _ = rows[CENTER_VOXEL].to_numpy(dtype=float), rows[ROTATION].to_numpy(dtype=float)
            known = rows["label"].isin(said.labels).all() and {*said.labels} <= said.radii_angstrom.keys()
            trains = any(TRAIN in said.regions[run] for run in rows.loc[rows["split"] == TRAIN, "run"])
        except (KeyError, TypeError, ValueError):
            return False
        return bool(known and trains and ((centers > -1) & (centers < shapes + 1)).all())

    @property
    def digest(self) -> str:
        """Digest of everything in the store."""
        return self.description.digest

    @property
    def runs(self) -> list[str]:
        """Names of the tomograms, in order."""
        return list(self.description.tomograms)

    @property
    def nbytes(self) -> int:
        """Memory that all tomograms take."""
        each = 2 + len(self.description.maps)
        return sum(each * int(np.prod(header.shape_voxel)) for header in self.description.tomograms.values())

    def __repr__(self) -> str:
        return f"TomogramStore({str(self.path)!r}: {len(self.runs)} tomograms, {len(self.particles):,} particles)"

    def array(self, run: str, name: str = "volume") -> Any:
        """Return the voxels of a tomogram as a Zarr array, which reads what is sliced.

        ``measured`` is None if all are; ``maps`` has an axis more, the first, for the label maps.
        """
        folder = self.path / TOMOGRAMS / f"{self.runs.index(run):05d}"
        if name == "measured" and not (folder / name).exists():
            return None
        try:
            found = open_array(zarr.DirectoryStore(str(folder)), name, str(folder), StoreError, remedy=REMEDY)
        except (KeyError, OSError) as fault:
            raise StoreError(
                f"{folder / name}: missing or damaged ({type(fault).__name__}: {fault}); {REMEDY}"
            ) from None
        maps = (len(self.description.maps),) if name == "maps" else ()
        if found.shape != maps + self.description.tomograms[run].shape_voxel:
            raise StoreError(f"{folder / name}: damaged, it has {found.shape} voxels; {REMEDY}")
        return found

    def layout(self, run: str) -> Layout:
        """Return all particles of a tomogram, in any split."""
        rows = self.particles[self.particles["run"] == run]
        numbers = [self.description.labels.index(label) for label in rows["label"]]
        centers = rows[CENTER_VOXEL].to_numpy(dtype=np.float64)
        return Layout(np.array(numbers, dtype=np.int64), centers, rows[ROTATION].to_numpy(float).reshape(-1, 3, 3))

    @cached_property
    def templates(self) -> Float32[np.ndarray, "k n n n"]:
        """What a particle of each class looks like, in spreads; zeros for a class without training particles."""
        edge, file = self.description.template_edge_voxel, self.path / TEMPLATES
        shape = (len(self.description.labels), edge, edge, edge)
        found = read_npz(file, {"templates": 4 * int(np.prod(shape)) + 1024}, remedy=REMEDY).get("templates")
        if found is None or found.shape != shape:
            raise StoreError(f"{file}: damaged, it does not hold templates of {shape}; {REMEDY}")
        return found.astype(np.float32)

    @property
    def oriented(self) -> list[str]:
        """Classes of which orientations are known."""
        known = self.particles[ROTATION].notna().all(axis=1)
        return sorted(self.particles.loc[known, "label"].unique())

    @property
    def typical_moments(self) -> Moments:
        """Median over the tomograms of center and spread, which turn normalized values back into gray values."""
        center, spread = np.median(list(self.description.moments.values()), axis=0)
        return Moments(float(center), float(spread))
