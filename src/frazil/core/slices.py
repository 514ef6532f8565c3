"""Central slices of subtomograms, and what is known of a set of them: the curves that stand for it where its voxels are not at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from frazil.core.documents import Document
from frazil.core.errors import FrazilError, ShapeError
from frazil.core.files import write_json

if TYPE_CHECKING:
    from jaxtyping import Float

SLICE_PLANES = ("XY", "XZ", "YZ")
DIRECTIONS = ("XY, along x", "XY, along y", "XZ, along x", "XZ, along z", "YZ, along z", "YZ, along y")
QUANTILES_PERCENT = (0.1, 1.0, 5.0, 50.0, 95.0, 99.0, 99.9)
SMALLEST_EDGE_VOXEL = 16

Numbers = tuple[float | None, ...]
"""A curve; None where it has no coefficients."""


@dataclass(frozen=True)
class SliceSet:
    """The three central slices of each of `n` subtomograms, in any unit that a subtomogram's slices share.

    Parameters
    ----------
    slices : XY (rows y, columns x), XZ (rows z, columns x), YZ (rows z, columns y).

    Raises
    ------
    ShapeError : no slices, slices that are not square or too small, or another number of labels.
    """

    slices: Float[np.ndarray, "n 3 edge edge"]
    labels: tuple[str, ...]
    voxel_size_angstrom: float

    def __post_init__(self) -> None:
        shape = self.slices.shape
        if len(shape) != 4 or shape[0] < 1 or shape[1] != 3 or shape[2] != shape[3] or shape[2] < SMALLEST_EDGE_VOXEL:
            raise ShapeError(
                f"slices of the shape {shape}; give (n, 3, N, N): XY, XZ, and YZ of each subtomogram, N at least "
                f"{SMALLEST_EDGE_VOXEL}"
            )
        if len(self.labels) != shape[0]:
            raise ShapeError(f"{len(self.labels)} labels for the slices of {shape[0]} subtomograms; give one for each")

    @classmethod
    def of_volumes(
        cls, volumes: Iterable[Float[np.ndarray, "edge edge edge"]], labels: Sequence[str], voxel_size_angstrom: float
    ) -> Self:
        """Take the slices through voxel N/2, where the particle is, of cubes (z, y, x)."""
        slices = [
            np.stack([volume[middle], volume[:, middle], volume[:, :, middle]])
            for volume in volumes
            for middle in (len(volume) // 2,)
        ]
        return cls(np.stack(slices), tuple(labels), voxel_size_angstrom)


class SliceCurves(Document):
    """Mean curves of a set of subtomograms; `frazil.volume.slices` says how each is measured. One file (JSON) holds one set.

    Files without kind and schema version, as others exchange them, are read too.

    Parameters
    ----------
    cycles_per_voxel : spatial frequencies of `log10_power`.
    log10_power : by plane.
    wedge_angle_degrees : lower edges of bins of angle to kx in the kz-kx plane.
    wedge_log10_power : over that within 15 degrees of kx.
    sectors : by direction, log10 power near an axis of a plane, in rings of four frequencies (of 64) from the fourth up.
    background_skew, background_excess_kurtosis, background_std : of what is brightest in XY.
    quantiles : of XY, 0.1, 1, 5, 50, 95, 99, and 99.9 %.
    radial_profile : by class, mean gray value in XY at whole distances in voxels from the center, counted from 0.
    subtomograms, per_class : how many there are.
    floors : how far two halves of them are from each other (`frazil.volume.slices.halves_floor`).
    """

    model_config = ConfigDict(populate_by_name=True)

    written_by: ClassVar[str] = "frazil"
    remedy: ClassVar[str] = "docs/reference/formats.md says what the file must hold"

    schema_version: int = 1
    kind: Literal["frazil slice curves"] = "frazil slice curves"
    voxel_size_angstrom: float = Field(gt=0)
    planes: tuple[Literal["XY"], Literal["XZ"], Literal["YZ"]] = ("XY", "XZ", "YZ")
    cycles_per_voxel: tuple[float, ...] = Field(min_length=2)
    log10_power: tuple[Numbers, Numbers, Numbers]
    wedge_angle_degrees: tuple[float, ...]
    wedge_log10_power: Numbers
    sectors: dict[str, Numbers] = Field(alias="sectors_20_degrees_rings_of_4_from_4")
    skew: float
    excess_kurtosis: float
    background_skew: float
    background_excess_kurtosis: float
    background_std: float
    quantiles: tuple[float, ...] = Field(alias="XY_quantiles_0.1_1_5_50_95_99_99.9_percent")
    radial_profile: dict[str, Numbers] = Field(alias="radial_profile_XY")
    subtomograms: int = Field(ge=1)
    per_class: dict[str, int] | None = None
    floors: dict[str, float] | None = None

    @property
    def edge_voxel(self) -> int:
        """Edge of the subtomograms: the lowest frequency is one cycle in it."""
        return round(1 / self.cycles_per_voxel[0])

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        frequencies = np.asarray(self.cycles_per_voxel)
        if frequencies[0] <= 0 or frequencies[-1] > 0.5 or (np.diff(frequencies) <= 0).any():
            raise ValueError("cycles_per_voxel must rise, between 0 and 0.5")
        if any(len(curve) != len(frequencies) for curve in self.log10_power):
            raise ValueError(f"log10_power needs {len(frequencies)} numbers for each plane, as cycles_per_voxel")
        if self.wedge_angle_degrees != tuple(range(0, 90, 5)) or len(self.wedge_log10_power) != 18:
            raise ValueError("the wedge needs 18 numbers, at 0, 5, ... 85 degrees")
        if set(self.sectors) != set(DIRECTIONS) or any(len(rings) != 7 for rings in self.sectors.values()):
            raise ValueError(f"the sectors need 7 numbers for each of {'; '.join(DIRECTIONS)}")
        if len(self.quantiles) != len(QUANTILES_PERCENT):
            raise ValueError(f"there must be {len(QUANTILES_PERCENT)} quantiles")
        return self

    @classmethod
    def parse(cls, content: Mapping[str, Any], path: Path, error: type[FrazilError]) -> Self:
        """Check the content of `path`; without a kind, curves are recognized by their power."""
        bare = (
            {}
            if "kind" in content or "log10_power" not in content
            else {"kind": "frazil slice curves", "schema_version": 1}
        )
        return super().parse({**content, **bare}, path, error)

    def write(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_json(path, self.model_dump(mode="json", by_alias=True))
