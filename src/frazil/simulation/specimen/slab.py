"""The ice as a slab between two parallel planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int64


@dataclass(frozen=True)
class Slab:
    """The ice: everything between two parallel planes, up to the borders of the tomogram.

    Its thickness is along the normal; None fills the tomogram. It rises along y by the first and along x by the second angle.
    """

    shape_voxel: tuple[int, int, int]
    thickness_voxel: float | None = None
    tilt_degrees: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def normal(self) -> Float[np.ndarray, "3"]:
        """Unit vector normal to the ice, zyx, towards higher z."""
        rise_y, rise_x = np.tan(np.radians(self.tilt_degrees))
        direction = np.array([1.0, -rise_y, -rise_x])
        return np.asarray(direction / np.linalg.norm(direction))

    @property
    def faces_voxel(self) -> tuple[float, float]:
        """Lowest and highest z of the ice in the middle of the tomogram."""
        _, height, width = self.shape_voxel
        lowest, highest = self.faces_at((height - 1) / 2, (width - 1) / 2)
        return float(lowest), float(highest)

    @cached_property
    def slope(self) -> Float[np.ndarray, "2"]:
        """Rise of the ice along y and along x, voxels per voxel; zero for ice that fills the tomogram."""
        return np.zeros(2) if self.thickness_voxel is None else -self.normal[1:] / self.normal[0]

    def faces_at(
        self, y: Float[np.ndarray, "..."] | float, x: Float[np.ndarray, "..."] | float
    ) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Return the lowest and the highest z of the ice at points (y, x), which may be fractions, and outside the tomogram.

        The ice ends at the border of the tomogram, half a voxel beyond a center; if there is none, lowest is above highest.
        """
        depth, height, width = self.shape_voxel
        thickness = depth if self.thickness_voxel is None else self.thickness_voxel / self.normal[0]
        rise = (np.asarray(y) - (height - 1) / 2) * self.slope[0] + (np.asarray(x) - (width - 1) / 2) * self.slope[1]
        middle = (depth - 1) / 2 + rise
        return np.maximum(middle - thickness / 2, -0.5), np.minimum(middle + thickness / 2, depth - 0.5)

    def heights(
        self, y: Int64[np.ndarray, "..."], x: Int64[np.ndarray, "..."], offsets: Int64[np.ndarray, "n 3"]
    ) -> tuple[Int64[np.ndarray, "..."], Int64[np.ndarray, "..."]]:
        """Return the lowest and the highest z at which all `offsets` from (z, y, x) are voxels of the ice."""
        lowest = np.full(np.broadcast(y, x).shape, -offsets[:, 0].min())
        highest = np.full(lowest.shape, self.shape_voxel[0] - 1 - offsets[:, 0].max())
        if self.thickness_voxel is not None:
            across = offsets @ self.normal
            middle_z, middle_y, middle_x = (np.asarray(self.shape_voxel) - 1) / 2
            sideways = (y - middle_y) * self.normal[1] + (x - middle_x) * self.normal[2]
            reach = np.array([-self.thickness_voxel / 2 - across.min(), self.thickness_voxel / 2 - across.max()])
            below, above = ((end - sideways) / self.normal[0] + middle_z for end in reach)
            lowest = np.maximum(lowest, np.ceil(below - 1e-9).astype(np.int64))
            highest = np.minimum(highest, np.floor(above + 1e-9).astype(np.int64))
        return lowest, highest

    @cached_property
    def columns(self) -> tuple[Int64[np.ndarray, "y x"], Int64[np.ndarray, "y x"]]:
        """The lowest and the highest voxel of ice at each (y, x); no ice where the lowest is above the highest."""
        _, height, width = self.shape_voxel
        return self.heights(np.arange(height)[:, None], np.arange(width), np.zeros((1, 3), dtype=np.int64))

    @cached_property
    def volume_voxel(self) -> int:
        """Voxels of ice in the tomogram."""
        lowest, highest = self.columns
        return int(np.maximum(highest - lowest + 1, 0).sum())
