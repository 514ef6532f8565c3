"""What a box store says about itself: `dataset.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pandas as pd

from frazil.core.documents import Document
from frazil.core.errors import FrazilError, StoreError
from frazil.core.files import file_digest, text_digest
from frazil.core.records import TiltRange, TomogramHeader
from frazil.core.settings import CurateSettings, SourceSettings, SplitBy
from frazil.dataset.tables import CENTER_ANGSTROM, CENTER_VOXEL, PARTICLES, POSITION, ClassCount
from frazil.io.cells import without_apostrophes

DESCRIPTION = "dataset.json"
REMEDY = "curate it again with --force (in Python: force=True)"

_TEXT = {"run": str, "label": str, "split": str, "reason": str, "user": str, "session": str}
_USERS_OF_0_1 = ("simulated", "frazil")
"""Who placed the picks of volumes that frazil 0.1 simulated or sampled."""


class StoreDescription(Document):
    """What a box store is. Written last, so a store that has it is whole.

    Parameters
    ----------
    labels : classes that have boxes, sorted; a label's number is its place here.
    voxel_size_angstrom, box_size_voxel : of the boxes.
    tilt_range_degrees : of all tomograms; None where it is not known or differs.
    validation_runs : runs that validate, where the split is by tomogram.
    overlapping_validation_boxes : validation boxes that share a voxel with a training box.
    curate, source : the settings.
    source_path, source_kind : where the boxes come from.
    tomograms : run -> shape, voxel size and place of its tomogram. Stores of frazil 0.1 know those that gave a box.
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
        if content.get("kind") == "frazil tomogram store":
            raise error(
                f"{path.parent}: holds whole tomograms, not boxes; curate it without --whole (in Python: whole)"
            )
        if content.get("kind") == cls.model_fields["kind"].default and content.get("schema_version") == 1:
            content = _completed(content, path.parent)
        described = super().parse(content, path, error)
        expected = store_digest(
            described.labels, described.voxel_size_angstrom, described.box_size_voxel, described.table_digests
        )
        if described.digest != expected:
            raise error(f"{path}: damaged or edited, its digest does not fit; {REMEDY}")
        return described


def store_digest(
    labels: tuple[str, ...], voxel_size_angstrom: float, box_size_voxel: int, table_digests: dict[str, str]
) -> str:
    """Return the digest of a store. The moments in the particle table stand for the voxels."""
    return text_digest(json.dumps([labels, voxel_size_angstrom, box_size_voxel, sorted(table_digests.items())]))


def read_description(path: Path) -> StoreDescription:
    """Read what the store at `path` is."""
    file = path / DESCRIPTION
    try:
        missing = not file.is_file()
    except OSError:  # a folder that may not be looked into, a name too long
        missing = False
    if missing:
        raise StoreError(
            f"{path}: not a finished box store ({DESCRIPTION} is missing); make one, or finish it, with frazil curate"
        )
    return StoreDescription.read(file, StoreError)


def check_tables(path: Path, digests: Mapping[str, str]) -> None:
    """Refuse a store of which a table is missing or was changed."""
    for name, digest in digests.items():
        if not (path / name).is_file():
            raise StoreError(f"{path / name}: missing; {REMEDY}")
        if file_digest(path / name) != digest:
            raise StoreError(f"{path / name}: damaged or edited, its digest does not fit; {REMEDY}")


def read_store_table(path: Path) -> pd.DataFrame:
    """Read a table of a store; names that look like numbers or missing values stay names."""
    try:
        table = pd.read_csv(path, dtype=_TEXT, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as fault:
        raise StoreError(f"{path}: damaged ({fault}); {REMEDY}") from None
    for name in _TEXT.keys() & set(table):
        table[name] = without_apostrophes(table[name])
    return table


def _completed(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the description of a store of frazil 0.1 with what its particles say: tomograms, and whether simulated."""
    particles = read_store_table(folder / PARTICLES)
    try:
        sums = particles.groupby("run")[[*CENTER_ANGSTROM, *CENTER_VOXEL, *POSITION]].sum()
        angstrom, voxel, position = sums[CENTER_ANGSTROM], sums[CENTER_VOXEL], sums[POSITION]
        # the edges that centers were divided by to give positions; 1 where all lie at 0
        edges = voxel.div(position.to_numpy()).where(position.to_numpy() > 0, 1).round().astype(int)
        simulated = bool(particles["user"].isin(_USERS_OF_0_1).any())
        tomograms = {
            run: TomogramHeader(
                run=run,
                shape_voxel=tuple(edges.loc[run].tolist()),
                voxel_size_angstrom=float(angstrom.loc[run].sum() / voxel.loc[run].sum()),
                origin=origin,
                tilt_range_degrees=content["tilt_range_degrees"],
                simulated=simulated,
            )
            for run, origin in content["tomograms"].items()
            if run in voxel.index
        }
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as fault:
        raise StoreError(f"{folder / DESCRIPTION}: damaged ({type(fault).__name__}: {fault}); {REMEDY}") from None
    newest = StoreDescription.model_fields["schema_version"].default
    return {**content, "schema_version": newest, "tomograms": tomograms, "simulated": simulated}
