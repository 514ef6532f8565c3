"""The box store: boxes in Zarr, tables in CSV, and a description that says what they are.

STORE/dataset.json         StoreDescription; written last
STORE/particles.csv        one row a box
STORE/neighbours.csv       every other annotated particle in a box
STORE/left_out.csv         picks without a box, and why
STORE/boxes.zarr/volume    (n, D, D, D) float32, raw grey values, 0 where not measured; one chunk a box
STORE/boxes.zarr/measured  (n, D, D, D) bool; an absent chunk means that all voxels were measured
"""

from __future__ import annotations

import json
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import zarr

from frazil.core.documents import Document
from frazil.core.errors import FrazilError, StoreError
from frazil.core.files import file_digest, text_digest
from frazil.core.records import Moments, TiltRange, TomogramHeader
from frazil.core.settings import CurateSettings, Normalisation, SourceSettings, SplitBy
from frazil.dataset.counts import ClassCount
from frazil.dataset.particles import CENTER_ANGSTROM, CENTER_VOXEL, POSITION
from frazil.volume.intensity import moments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Bool, Float32, Float64, Int64

DESCRIPTION = "dataset.json"
PARTICLES = "particles.csv"
NEIGHBOURS = "neighbours.csv"
LEFT_OUT = "left_out.csv"
BOXES = "boxes.zarr"

_REMEDY = "curate it again with --force"
_MOMENTS_TOLERANCE = 1e-6
"""In standard deviations: rounding differs between machines by less, one foreign voxel in 64^3 makes more."""

_USERS_OF_0_1 = ("simulated", "frazil")
"""Who placed the picks of volumes that frazil 0.1 simulated or sampled."""

_TEXT = {"run": str, "label": str, "split": str, "reason": str, "user": str, "session": str}


class StoreDescription(Document):
    """What a box store is.

    Parameters
    ----------
    labels : classes that have boxes, sorted; a label's number is its place here.
    voxel_size_angstrom, box_size_voxel : of the boxes.
    tilt_range_degrees : of all tomograms; None where it is not known or differs.
    validation_runs : runs that validate, where the split is by tomogram.
    overlapping_validation_boxes : validation boxes that share a voxel with a training box.
    curate, source : the settings.
    source_path, source_kind : where the boxes come from.
    tomograms : run -> what its tomogram was: grid, voxel size, place. Stores of frazil 0.1 know those that gave a box.
    simulated : frazil made a tomogram; no microscope saw it.
    plan_digest : of picks, headers and settings that decide which boxes there are.
    table_digests : file name -> digest.
    digest : of the tables and of what the boxes are; the same data gives the same digest wherever it lies.
    """

    written_by: ClassVar[str] = "frazil curate"

    schema_version: int = 2
    kind: Literal["frazil box store"] = "frazil box store"
    axis_order: Literal["zyx"] = "zyx"
    labels: tuple[str, ...]
    voxel_size_angstrom: float
    box_size_voxel: int
    box_count: int
    tilt_range_degrees: TiltRange | None
    split_by: SplitBy
    validation_runs: tuple[str, ...]
    overlapping_validation_boxes: int
    seed: int
    curate: CurateSettings
    source: SourceSettings
    source_path: str
    source_kind: str
    tomograms: dict[str, TomogramHeader]
    simulated: bool
    counts: tuple[ClassCount, ...]
    plan_digest: str
    table_digests: dict[str, str]
    digest: str

    @classmethod
    def parse(cls, content: Mapping[str, Any], path: Path, error: type[FrazilError]) -> Self:
        """Check what was read from `path`; see `Document.read`. What frazil 0.1 did not write is filled in."""
        if content.get("kind") == cls.model_fields["kind"].default and content.get("schema_version") == 1:
            content = _completed(content, path.parent, error)
        described = super().parse(content, path, error)
        expected = store_digest(
            described.labels, described.voxel_size_angstrom, described.box_size_voxel, described.table_digests
        )
        if described.digest != expected:
            raise error(f"{path}: damaged or edited, its digest does not fit; {_REMEDY}")
        return described


def store_digest(
    labels: tuple[str, ...], voxel_size_angstrom: float, box_size_voxel: int, table_digests: dict[str, str]
) -> str:
    """Return the digest of a store. The moments in the particle table stand for the voxels."""
    content = [labels, voxel_size_angstrom, box_size_voxel, sorted(table_digests.items())]
    return text_digest(json.dumps(content))


class BoxStore:
    """A finished box store, read.

    Parameters
    ----------
    path : the folder.
    description : what it is.
    particles : one row a box, in the order of the boxes: box, run, label, split, centre_{z,y,x}_angstrom,
        centre_{z,y,x}_voxel (of the tomogram), position_{z,y,x} (in [0, 1]), box_centre_{z,y,x}_voxel, padding (share
        of voxels that were not measured), mean_padded, std_padded, mean_measured, std_measured, rotation_zz ...
        rotation_xx (NaN where unknown), user, session. `frazil.dataset.particles` says what they mean.
    neighbours : box, label, offset_{z,y,x}_voxel from voxel D/2 of the box: every other annotated particle whose centre
        lies in it.
    """

    def __init__(
        self, path: Path, description: StoreDescription, particles: pd.DataFrame, neighbours: pd.DataFrame
    ) -> None:
        self.path = path
        self.description = description
        self.particles = particles
        self.neighbours = neighbours

    @classmethod
    def open(cls, path: Path) -> BoxStore:
        """Open a store; tables are read and checked, voxels are not read.

        Raises
        ------
        StoreError : no store, a newer schema, or a part that is missing or damaged.
        """
        description = read_description(path)
        for name, digest in description.table_digests.items():
            if not (path / name).is_file():
                raise StoreError(f"{path / name}: missing; {_REMEDY}")
            if file_digest(path / name) != digest:
                raise StoreError(f"{path / name}: damaged or edited, its digest does not fit; {_REMEDY}")
        store = cls(path, description, _read_table(path / PARTICLES), _read_table(path / NEIGHBOURS))
        store._check_boxes()
        return store

    @property
    def digest(self) -> str:
        """Digest of everything in the store; the same data gives the same digest wherever it lies."""
        return self.description.digest

    def __len__(self) -> int:
        return len(self.particles)

    def boxes(self, split: str) -> Int64[np.ndarray, "n"]:
        """Return the indices of the boxes of ``train`` or ``validation``."""
        return self.particles.loc[self.particles["split"] == split, "box"].to_numpy(dtype=np.int64)

    def volume(self, box: int) -> Float32[np.ndarray, "d d d"]:
        """Return the raw grey values of a box; voxels that were not measured are 0.

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
                f"{_REMEDY}"
            )
        return volume

    def measured(self, box: int) -> Bool[np.ndarray, "d d d"]:
        """Say which voxels of a box were measured.

        Raises
        ------
        StoreError : no such box, or its file is damaged.
        """
        return np.asarray(self._read("measured", box), dtype=bool)

    def moments(self, box: int, normalisation: Normalisation) -> Moments:
        """Return mean and standard deviation of a box over all voxels (``padded``) or the ``measured`` ones."""
        row = self.particles.iloc[box]
        return Moments(float(row[f"mean_{normalisation}"]), float(row[f"std_{normalisation}"]))

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return open_arrays(self.path / BOXES, mode="r")

    def _read(self, name: str, box: int) -> Any:
        if not 0 <= box < len(self):
            raise StoreError(f"{self.path}: no box {box}; there are {len(self)}, counted from 0")
        try:
            return self._arrays[name][box]
        except (RuntimeError, ValueError, OSError) as fault:
            raise StoreError(f"{self.path / BOXES}: {name} of box {box} is damaged ({fault}); {_REMEDY}") from None

    def _check_boxes(self) -> None:
        """An absent chunk would read as zeros, so all must be there."""
        count, edge = self.description.box_count, self.description.box_size_voxel
        if len(self.particles) != count:
            raise StoreError(f"{self.path / PARTICLES}: {len(self.particles)} rows for {count} boxes; {_REMEDY}")
        for name, array in self._arrays.items():
            if array.shape != (count, edge, edge, edge):
                raise StoreError(
                    f"{self.path / BOXES}: {name} has the shape {array.shape}, expected {count} boxes of {edge}^3; "
                    f"{_REMEDY}"
                )
        there = {file.name for file in (self.path / BOXES / "volume").iterdir()}
        missing = [box for box in range(count) if f"{box}.0.0.0" not in there]
        if missing:
            raise StoreError(
                f"{self.path / BOXES}: {len(missing)} of {count} boxes are missing, the first is {missing[0]}; "
                f"{_REMEDY}"
            )


def open_arrays(path: Path, *, mode: str) -> dict[str, Any]:
    """Open the arrays ``volume`` and ``measured`` of the boxes.

    Raises
    ------
    StoreError : they are missing or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # zarr 2 announces that zarr 3 renames its stores
            group = zarr.open_group(zarr.DirectoryStore(str(path)), mode=mode)
        return {name: group[name] for name in ("volume", "measured")}
    except (zarr.errors.MetadataError, ValueError, KeyError, OSError) as fault:
        raise StoreError(f"{path}: missing or damaged ({type(fault).__name__}: {fault}); {_REMEDY}") from None


def read_description(path: Path) -> StoreDescription:
    """Read what the store at `path` is.

    Raises
    ------
    StoreError : no store, a newer schema, or a damaged description.
    """
    file = path / DESCRIPTION
    try:
        missing = not file.is_file()
    except OSError:  # a folder that may not be looked into, a name too long
        missing = False
    if missing:
        raise StoreError(f"{path}: no box store ({DESCRIPTION} is missing); make one with frazil curate")
    return StoreDescription.read(file, StoreError)


def _completed(content: Mapping[str, Any], folder: Path, error: type[FrazilError]) -> dict[str, Any]:
    """Return the description of a store of frazil 0.1 with what its particles say: grids of tomograms, whether simulated."""
    particles = _read_table(folder / PARTICLES)
    try:
        by_run = particles.groupby("run")
        angstrom, voxel, position = (by_run[axes].sum() for axes in (CENTER_ANGSTROM, CENTER_VOXEL, POSITION))
        simulated = bool(particles["user"].isin(_USERS_OF_0_1).any())
        tomograms = {
            run: TomogramHeader(
                run=run,
                shape_voxel=_whole_ratio(voxel.loc[run].to_numpy(), position.loc[run].to_numpy()),
                voxel_size_angstrom=float(angstrom.loc[run].sum() / voxel.loc[run].sum()),
                origin=origin,
                tilt_range_degrees=content["tilt_range_degrees"],
                simulated=simulated,
            )
            for run, origin in content["tomograms"].items()
            if run in voxel.index
        }
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as fault:
        raise error(f"{folder / DESCRIPTION}: damaged ({type(fault).__name__}: {fault}); {_REMEDY}") from None
    newest = StoreDescription.model_fields["schema_version"].default
    return {**content, "schema_version": newest, "tomograms": tomograms, "simulated": simulated}


def _whole_ratio(voxel: Float64[np.ndarray, "3"], position: Float64[np.ndarray, "3"]) -> tuple[int, int, int]:
    """Return the edges that centers were divided by to give positions; 1 where all lie at 0."""
    z, y, x = np.rint(np.divide(voxel, position, out=np.ones(3), where=position > 0)).astype(int).tolist()
    return z, y, x


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=_TEXT, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as fault:
        raise StoreError(f"{path}: damaged ({fault}); {_REMEDY}") from None
