"""What a tomogram store says about itself: `dataset.json`."""

from __future__ import annotations

import json
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from frazil.core.digests import bytes_digest, text_digest
from frazil.core.documents import Document
from frazil.core.records import Moments, Tomogram, TomogramHeader
from frazil.core.settings import (
    LARGEST_BOX_VOXEL,
    LARGEST_GRAY,
    CurateSettings,
    Radius,
    SourceSettings,
    TiltDegrees,
    VoxelSize,
)
from frazil.dataset.tables import ClassCount

Region = tuple[tuple[int, int, int], tuple[int, int, int]]
"""A block of a tomogram: its first voxel and the one past its last, zyx."""


def voxels_digest(tomogram: Tomogram) -> str:
    """Return the digest of a tomogram's gray values, whatever it is called and however it is stored."""
    return bytes_digest(voxel_bytes(tomogram.volume))


def voxel_bytes(volume: Float[np.ndarray, "z y x"]) -> memoryview:
    """Return the gray values that a digest is of, slab by slab or at once."""
    return np.ascontiguousarray(volume, dtype="<f4").data


class TomogramStoreDescription(Document):
    """What a tomogram store is. Written last, so a store that has it is whole.

    Parameters
    ----------
    labels : classes that have particles, sorted; a label's number is its place here.
    voxel_size_angstrom : of the tomograms.
    tilt_range_degrees : of all tomograms; None where it is not known or differs.
    tomograms : run -> shape, voxel size and place of its tomogram; sorted, tomogram 0 first.
    tomogram_digests : run -> digest of its gray values as they were read; stores of before have none.
    moments : run -> median of its gray values, and their spread: half the distance of the quantiles 16 % and 84 %.
    regions : run -> split -> the part of the tomogram that it may use.
    radii_angstrom : label -> radius of its particles.
    measured_radii : labels whose radius no source gives, so that it was measured on the averages.
    maps : names of the label maps that each tomogram has, sorted.
    map_digests : run -> digest of its label maps.
    counts, curate, source, source_path, source_kind, simulated, plan_digest, table_digests : as in a box store.
    template_edge_voxel : edge of the averages, in voxels of the tomograms.
    digest : of tables, averages, gray values and label maps; the same data gives the same digest wherever it lies.
    """

    written_by: ClassVar[str] = "frazil curate --whole"

    schema_version: int = Field(3, ge=2)  # the averages of 1 were scaled otherwise; 2 had no label maps
    kind: Literal["frazil tomogram store"] = "frazil tomogram store"
    axis_order: Literal["zyx"] = "zyx"
    labels: tuple[str, ...] = Field(min_length=1)
    voxel_size_angstrom: VoxelSize
    tilt_range_degrees: TiltDegrees | None
    tomograms: dict[str, TomogramHeader]
    tomogram_digests: dict[str, str] = Field(default_factory=dict)
    moments: dict[str, Moments]
    regions: dict[str, dict[str, Region]]
    radii_angstrom: dict[str, Radius]
    measured_radii: tuple[str, ...]
    maps: tuple[str, ...] = ()
    map_digests: dict[str, str] = Field(default_factory=dict)
    template_edge_voxel: int = Field(ge=0, le=LARGEST_BOX_VOXEL)
    curate: CurateSettings
    source: SourceSettings
    source_path: str
    source_kind: str
    simulated: bool
    counts: tuple[ClassCount, ...]
    plan_digest: str
    table_digests: dict[str, str]
    digest: str

    @model_validator(mode="after")
    def _consistent(self) -> TomogramStoreDescription:
        if not self.tomograms.keys() == self.moments.keys() == self.regions.keys():
            raise ValueError("its moments or regions are of other runs than its tomograms")
        for run, header in self.tomograms.items():
            center, spread = self.moments[run]
            if abs(center) > LARGEST_GRAY or not 0 < spread <= LARGEST_GRAY:
                raise ValueError(f"{run}: gray values of {center:g} +- {spread:g}")
            for first, end in self.regions[run].values():
                corners = zip(first, end, header.shape_voxel, strict=True)
                if not all(0 <= low < high <= edge for low, high, edge in corners):
                    raise ValueError(f"{run}: a region from {first} to {end} in {header.shape_voxel} voxels")
        return self

    def own_digest(self) -> str:
        """Return the digest that the content should have."""
        included = {"labels", "voxel_size_angstrom", "moments", "regions", "table_digests"}
        if self.maps:  # so that stores without any keep their digest
            included |= {"maps", "map_digests"}
        said = self.model_dump(mode="json", include=included)
        return text_digest(json.dumps(said, sort_keys=True))
