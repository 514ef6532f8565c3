"""The records that flow between packages: picks, tomograms, moments, conditions.

All arrays are zyx. xyz exists only inside `io/`, where it is flipped once. A rotation here acts on zyx vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from jaxtyping import Bool, Float, Int64
    from torch import Tensor

TiltRange = tuple[float, float]
"""Lowest and highest tilt in degrees; the tilt axis is y, the beam is along z (SCIENCE: CZII acquisition)."""

SAME_VOXEL_SIZE = 1e-3
"""Voxel sizes, or edges of one voxel, that differ by a smaller share are the same: headers round."""


def same_voxel_size(one_angstrom: float, other_angstrom: float) -> bool:
    """Return whether two voxel sizes are the same but for the rounding of headers."""
    return abs(one_angstrom / other_angstrom - 1) < SAME_VOXEL_SIZE


NULL_LABEL = -1
"""Instead of a class index: no class is requested."""


class Moments(NamedTuple):
    """Mean and standard deviation of gray values, in the tomogram's own unit."""

    mean: float
    std: float


@dataclass(frozen=True)
class Picks:
    """The particles of one class in one run, as one annotator placed them.

    Parameters
    ----------
    run : name of the run (one tilt series, one tomogram).
    label : class name of the particle.
    centers_angstrom : `(n, 3)` zyx, angstrom from the center of voxel (0, 0, 0).
    rotations : `(n, 3, 3)` object -> tomogram, acting on zyx vectors, or None if the orientation is unknown.
    user, session : who placed the picks, in copick's sense; None if the format does not say.
    origin : where the picks were read from, for messages.
    scores : `(n,)` how sure a picker was, in its own unit; None if nothing says it.
    """

    run: str
    label: str
    centers_angstrom: Float[np.ndarray, "n 3"]
    rotations: Float[np.ndarray, "n 3 3"] | None = None
    user: str | None = None
    session: str | None = None
    origin: str = ""
    scores: Float[np.ndarray, "n"] | None = None

    def __len__(self) -> int:
        return len(self.centers_angstrom)


@dataclass(frozen=True)
class Layout:
    """Which particle is where: the condition of a network that makes whole, labeled tomograms.

    Parameters
    ----------
    label : `(n,)` class indices.
    center_voxel : `(n, 3)` zyx, from the center of voxel (0, 0, 0) of the tomogram.
    rotation : `(n, 3, 3)` object -> tomogram, acting on zyx vectors; NaN where the orientation is not known.
    """

    label: Int64[np.ndarray, "n"]
    center_voxel: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 3 3"]

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, chosen: Bool[np.ndarray, "n"] | Int64[np.ndarray, "m"]) -> Layout:
        return Layout(self.label[chosen], self.center_voxel[chosen], self.rotation[chosen])

    def without_rotations(self) -> Layout:
        """Return the same particles with no orientation known."""
        return replace(self, rotation=np.full_like(self.rotation, np.nan))


@dataclass(frozen=True)
class TomogramHeader:
    """What is known about a tomogram without reading its voxels.

    Parameters
    ----------
    shape_voxel : zyx.
    origin : path or address, for messages and provenance.
    simulated : frazil made it; no microscope saw it.
    first_voxel_angstrom : zyx place of the center of voxel (0, 0, 0), in the frame of the picks: not 0 for a crop that says
        where it was cut out.
    """

    run: str
    shape_voxel: tuple[int, int, int]
    voxel_size_angstrom: float
    origin: str
    tilt_range_degrees: TiltRange | None = None
    simulated: bool = False
    first_voxel_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def to_voxel(self, centers_angstrom: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
        """Return places (zyx, angstrom, as in `Picks`) in voxels from the center of voxel (0, 0, 0)."""
        return np.asarray((centers_angstrom - np.asarray(self.first_voxel_angstrom)) / self.voxel_size_angstrom)

    @property
    def extent_angstrom(self) -> tuple[float, float, float]:
        """Edges of the tomogram, zyx, in angstrom."""
        z, y, x = (edge * self.voxel_size_angstrom for edge in self.shape_voxel)
        return z, y, x


@dataclass(frozen=True)
class Tomogram:
    """The voxels of one tomogram, and which of them were measured.

    Parameters
    ----------
    volume : `(z, y, x)` gray values, float32.
    chunk_voxel : zyx edges of a storage chunk; the whole shape for formats without chunks.
    chunk_present : one flag per chunk, False if the chunk is absent on disk (it then reads as the fill value).
    first_plane : z of the first plane of `volume`, where only some planes were read.
    """

    header: TomogramHeader
    volume: Float[np.ndarray, "z y x"]
    chunk_voxel: tuple[int, int, int]
    chunk_present: Bool[np.ndarray, "cz cy cx"]
    first_plane: int = 0


def hidden_layout(planes: Float[Tensor, "... planes z y x"]) -> Float[Tensor, "... planes z y x"]:
    """Return painted planes (`frazil.volume.layout.Painter`) of a layout that is not told; the last two, the height, stay."""
    kept = planes.clone()
    kept.narrow(-4, 0, planes.shape[-4] - 2).zero_()
    return kept


@dataclass(frozen=True)
class Condition:
    """What a batch of volumes should show. Every field has an explicit null.

    Parameters
    ----------
    label : `(b,)` class indices; `NULL_LABEL` requests no class. A network understands that only if labels were hidden in its
        training (`TrainingSettings.class_dropout`); it sees a one-hot row of zeros.
    position : `(b, 3)` zyx center in the tomogram, divided by its extent, in [0, 1]; NaN is the null position.
    layout : `(b, planes, z, y, x)` painted layout (`frazil.volume.layout.Painter`); None for a network that takes none.
    tilt_range_degrees : `(b, 2)` lowest and highest tilt, which only a network with layouts takes; NaN is the null, None all null.
    read : what a network has taken from the layout (`ConditionalUNet.read`), so that it need not look again.
    """

    label: Int64[Tensor, "b"]
    position: Float[Tensor, "b 3"]
    layout: Float[Tensor, "b planes z y x"] | None = None
    tilt_range_degrees: Float[Tensor, "b 2"] | None = None
    read: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return int(self.label.shape[0])

    def __getitem__(self, item: slice | Tensor) -> Condition:
        return self.each(lambda tensor: tensor[item])

    def without_label(self) -> Condition:
        """Return the same condition with every label and layout null, which guidance contrasts it with."""
        layout = None if self.layout is None else hidden_layout(self.layout)
        return replace(self, label=self.label * 0 + NULL_LABEL, layout=layout, read=())

    def without_height(self) -> Condition:
        """Return the same condition with the height in the tomogram unknown, which guidance by the height contrasts it with."""
        assert self.layout is not None
        layout = self.layout.clone()
        layout[:, -2:] = 0
        return replace(self, layout=layout, read=())

    def to(self, device: torch.device | str) -> Condition:
        """Return the same condition on `device`."""
        return self.each(lambda tensor: tensor.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """Return the condition with every field changed."""
        layout, tilts = (None if part is None else change(part) for part in (self.layout, self.tilt_range_degrees))
        return Condition(change(self.label), change(self.position), layout, tilts, tuple(map(change, self.read)))
