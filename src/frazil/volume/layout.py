"""Painting a layout: placed particles as planes that a network takes.

There is a plane for each class. A particle is painted as the template of its class, rotated; as the mean of the template over all
rotations where its orientation is not known; as a soft ball of its radius where the class has no template. Then there is a plane for
each label map, 1 where it marks something. Three more planes follow: that a layout is told at all, that the height in the tomogram is
known, and that height, from -1 at its lowest plane to 1 at its highest. Each is zero where it is not known, so zeros are the null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from frazil.core.records import Layout
from frazil.volume.spheres import rotational_average

MORE_PLANES = 3
"""Planes beside those of classes and label maps: told, height known, height."""


@dataclass(frozen=True)
class Painter:
    """What is needed to paint a particle of each class.

    Parameters
    ----------
    templates : `(k, n, n, n)` looks of each class on the tomogram's voxels, in spreads, matter positive, about its middle; zeros where
        not known.
    radius_voxel : `(k,)` of each class, in voxels of the tomogram.
    stride_voxel : voxels of the tomogram in one of the planes, along each axis. Voxel j of a plane is in the middle of those that it
        covers.
    map_count : label maps, of membranes for instance.
    """

    templates: Float[Tensor, "k n n n"]
    radius_voxel: Sequence[float]
    stride_voxel: int = 1
    map_count: int = 0

    @cached_property
    def _drawn(self) -> tuple[Float[Tensor, "k m m m"], Float[Tensor, "k m m m"]]:
        """Templates of particles whose orientation is known, and of others, both on a grid twice as fine.

        Interpolation between voxels blurs what is finer than some four of them; between half voxels it does not.
        """
        every = self.templates.float().numpy()
        return tuple(
            torch.from_numpy(np.stack([_twice_as_fine(one) for one in some]).astype(np.float32))
            for some in (every, [rotational_average(one) for one in every])
        )  # type: ignore[return-value]

    @property
    def reach_voxel(self) -> float:
        """How far from its center a particle may be painted."""
        return max((self.templates.shape[-1] - 1) / 2, *(radius + self.stride_voxel for radius in self.radius_voxel))

    def paint(
        self,
        layout: Layout,
        start_voxel: Sequence[int],
        shape_voxel: Sequence[int],
        depth_voxel: int | None = None,
        maps: Sequence[Bool[np.ndarray, "z y x"]] = (),
    ) -> Float[Tensor, "planes z y x"]:
        """Paint the window of a tomogram that starts at a voxel (zyx) and has this shape, a multiple of the stride.

        `depth_voxel` is the number of planes of the tomogram along z; None leaves the height unknown. `maps` are the label maps in the
        window, for a stride of 1; without, they are empty.
        """
        stride = self.stride_voxel
        edges = [edge // stride for edge in shape_voxel]
        planes = torch.zeros((len(self.templates) + self.map_count + MORE_PLANES, *edges))
        for number, marked in enumerate(maps, len(self.templates)):
            planes[number] = torch.from_numpy(marked)
        planes[-3] = 1
        axes = [
            start + (stride - 1) / 2 + stride * np.arange(edge) for start, edge in zip(start_voxel, edges, strict=True)
        ]
        if depth_voxel is not None:
            planes[-2] = 1
            planes[-1] = torch.from_numpy(2 * axes[0] / max(1, depth_voxel - 1) - 1)[:, None, None]
        for label, center, rotation in zip(layout.label, layout.center_voxel, layout.rotation, strict=True):
            self._add(planes[int(label)], int(label), center, rotation, axes)
        return planes

    def _add(
        self,
        plane: Float[Tensor, "z y x"],
        label: int,
        center: Float[np.ndarray, "3"],
        rotation: Float[np.ndarray, "3 3"],
        axes: Sequence[Float[np.ndarray, "_"]],
    ) -> None:
        """Add one particle to the plane of its class."""
        turned, unturned = self._drawn
        known, radius = bool(np.isfinite(rotation).all()), self.radius_voxel[label]
        template = turned[label] if known else unturned[label]
        half, seen = (self.templates.shape[-1] - 1) / 2, bool(template.any())
        reach = half if seen else radius + self.stride_voxel
        spans = [slice(*np.searchsorted(axis, (at - reach, at + reach))) for axis, at in zip(axes, center, strict=True)]
        if any(span.start == span.stop for span in spans):
            return
        near = [axis[span] - at for axis, span, at in zip(axes, spans, center, strict=True)]
        offset = np.stack(np.meshgrid(*near, indexing="ij"), axis=-1)
        if seen:
            own = offset @ rotation if known else offset  # the inverse rotation
            grid = torch.from_numpy((own[..., ::-1] / half).astype(np.float32))[None]  # which takes xyz
            drawn = F.grid_sample(template[None, None], grid, align_corners=True)[0, 0]
        else:
            distance = np.linalg.norm(offset, axis=-1)
            ball = np.clip((radius - distance) / self.stride_voxel + 0.5, 0, 1)
            drawn = torch.from_numpy(ball.astype(np.float32))
        plane[tuple(spans)] += drawn


def outside_heights(planes: Float[Tensor, "b planes z y x"], heights: tuple[float, float]) -> Float[Tensor, "b z"]:
    """Return 1 where painted planes lie below or above these heights, 0 at the lowest plane of the tomogram and 1 at the highest.

    It is 0 between them, and where the height is not known.
    """
    known, height = planes[:, -2, :, 0, 0], (planes[:, -1, :, 0, 0] + 1) / 2
    return known * ((height < heights[0]) | (height > heights[1]))


def _twice_as_fine(volume: Float[np.ndarray, "n n n"]) -> Float[np.ndarray, "m m m"]:
    """Return a cube of odd edge n on half voxels, m = 2n - 1, with its middle kept: zeros added to its Fourier transform."""
    half = len(volume) // 2
    spectrum = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(volume)))
    padded = np.pad(spectrum, (half + 1, half))  # 2n voxels
    fine = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(padded)).real)
    return np.asarray(8 * fine[1:, 1:, 1:])
