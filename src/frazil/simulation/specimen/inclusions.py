"""Things that are not protein: membrane vesicles, gold beads, the carbon film around a hole, crystals of frost.

Densities are those of protein that scatters as much: volt over ice divided by 4.2 volt cubic angstrom per dalton. Mean inner
potentials are field knowledge: ice 4.5 V, amorphous carbon 10.7 V, gold some 26 V over ice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.special import erfc

from frazil.simulation.specimen.packing import Slab
from frazil.simulation.structures.structure import VOLT_ANGSTROM3_PER_DALTON

GOLD_DENSITY = 26.0 / VOLT_ANGSTROM3_PER_DALTON
CARBON_DENSITY = (10.7 - 4.5) / VOLT_ANGSTROM3_PER_DALTON
FROST_DENSITY = 4.5 / VOLT_ANGSTROM3_PER_DALTON  # over the vacuum that it grows in

# A bilayer across: hydrated head groups 2.5 V over ice, tails 0.8 V, less where the two leaflets' ends meet.
# Place from the middle (angstrom), sigma (angstrom), density (dalton per cubic angstrom).
BILAYER = ((-19.0, 5.0, 0.6), (19.0, 5.0, 0.6), (-9.0, 5.5, 0.19), (9.0, 5.5, 0.19), (0.0, 4.0, -0.1))
BILAYER_HALF_ANGSTROM = 27.0


@dataclass(frozen=True)
class Vesicle:
    """A closed bilayer: an ellipsoid with two shells of head groups some 40 A apart, and its semi-axes to their middle.

    Its center is zyx, from the center of voxel (0, 0, 0); the rotation (object -> tomogram) acts on zyx vectors.
    """

    center_angstrom: Float[np.ndarray, "3"]
    semi_axes_angstrom: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]

    @property
    def reach_angstrom(self) -> float:
        """Radius of the sphere that holds it."""
        return float(np.max(self.semi_axes_angstrom)) + BILAYER_HALF_ANGSTROM

    def add_to(
        self, density: Float[np.ndarray, "z y x"], solid: Bool[np.ndarray, "z y x"], voxel_size_angstrom: float
    ) -> None:
        """Add the bilayer to `density`; the vesicle with its inside becomes solid, for nothing gets in."""
        box, across = self._across(density.shape, voxel_size_angstrom)
        for place, sigma, height in BILAYER:
            blurred = math.hypot(sigma, voxel_size_angstrom / math.sqrt(12))  # a voxel's own blur
            density[box] += (height * sigma / blurred) * np.exp(-0.5 * ((across - place) / blurred) ** 2)
        solid[box] |= across < BILAYER_HALF_ANGSTROM

    def mark(self, membrane: UInt8[np.ndarray, "z y x"], voxel_size_angstrom: float) -> None:
        """Set `membrane` to 1 where the bilayer is, from the outer to the inner ends of the head groups."""
        box, across = self._across(membrane.shape, voxel_size_angstrom)
        membrane[box][abs(across) < BILAYER_HALF_ANGSTROM] = 1

    def _across(
        self, shape_voxel: tuple[int, ...], voxel_size_angstrom: float
    ) -> tuple[tuple[slice, ...], Float[np.ndarray, "z y x"]]:
        """Return the part of a grid that it reaches, and how far outside the middle of the bilayer each voxel lies, angstrom."""
        box, offset = box_around(self.center_angstrom, self.reach_angstrom + 10, shape_voxel, voxel_size_angstrom)
        return box, _outward(offset, self.semi_axes_angstrom, self.rotation)


@dataclass(frozen=True)
class GoldBead:
    """A dense sphere; its center as that of a vesicle."""

    center_angstrom: Float[np.ndarray, "3"]
    reach_angstrom: float

    def add_to(
        self, density: Float[np.ndarray, "z y x"], solid: Bool[np.ndarray, "z y x"], voxel_size_angstrom: float
    ) -> None:
        """Add the bead to `density`, and to what is solid."""
        reach = self.reach_angstrom + 2 * voxel_size_angstrom
        box, offset = box_around(self.center_angstrom, reach, density.shape, voxel_size_angstrom)
        outward = norm(offset) - self.reach_angstrom
        density[box] += GOLD_DENSITY * _edge(outward, voxel_size_angstrom)
        solid[box] |= outward < voxel_size_angstrom / 2


@dataclass(frozen=True)
class CarbonFilm:
    """Amorphous carbon outside a round hole.

    Parameters
    ----------
    hole_angstrom : yx of the hole's center.
    hole_radius_angstrom : of the rim's mean.
    rim_angstrom : how far the rim lies outward of its mean, at equal steps of the angle about the hole's center.
    lowest_angstrom, highest_angstrom : z of the film's faces, where y and x are 0.
    slope : by how much the film rises along y and along x.
    """

    hole_angstrom: Float[np.ndarray, "2"]
    hole_radius_angstrom: float
    rim_angstrom: Float[np.ndarray, "n"]
    lowest_angstrom: float
    highest_angstrom: float
    slope: Float[np.ndarray, "2"]

    def add_to(
        self, density: Float[np.ndarray, "z y x"], solid: Bool[np.ndarray, "z y x"], voxel_size_angstrom: float
    ) -> None:
        """Add the film to `density`, and to what is solid."""
        depth, height, width = density.shape
        y = np.arange(height)[:, None] * voxel_size_angstrom - self.hole_angstrom[0]
        x = np.arange(width) * voxel_size_angstrom - self.hole_angstrom[1]
        angle = np.arctan2(y, x) % (2 * np.pi) * len(self.rim_angstrom) / (2 * np.pi)
        rim = np.interp(angle, np.arange(len(self.rim_angstrom)), self.rim_angstrom, period=len(self.rim_angstrom))
        covered = _edge(self.hole_radius_angstrom + rim - np.hypot(y, x), voxel_size_angstrom).astype(np.float32)
        slope_y, slope_x = self.slope.tolist()
        rise = slope_y * (y + self.hole_angstrom[0]) + slope_x * (x + self.hole_angstrom[1])
        across = 1 / math.sqrt(1 + slope_y**2 + slope_x**2)  # the way through along z is longer
        reach = 2 * voxel_size_angstrom / across
        first = max(math.floor((self.lowest_angstrom + rise.min() - reach) / voxel_size_angstrom), 0)
        last = min(math.ceil((self.highest_angstrom + rise.max() + reach) / voxel_size_angstrom), depth - 1)
        for plane in range(first, last + 1):  # a plane at a time: the film is wide
            z = plane * voxel_size_angstrom - rise
            outward = np.maximum(self.lowest_angstrom - z, z - self.highest_angstrom) * across
            filled = _edge(outward, voxel_size_angstrom).astype(np.float32)
            density[plane] += np.float32(CARBON_DENSITY) * filled * covered
            solid[plane] |= (covered > 0.05) & (filled > 0.05)


@dataclass(frozen=True)
class FrostCrystal:
    """A convex polyhedron on a face of the ice; it grew in the vacuum, so none of it is in the ice.

    Its center is that of a vesicle. Facets are unit normals, zyx, and their distances from the center.
    """

    center_angstrom: Float[np.ndarray, "3"]
    facets: Float[np.ndarray, "n 3"]
    distances_angstrom: Float[np.ndarray, "n"]

    def add_to(self, density: Float[np.ndarray, "z y x"], slab: Slab, voxel_size_angstrom: float) -> None:
        """Add the crystal to `density`."""
        reach = 2 * float(self.distances_angstrom.max())  # corners stand out
        box, (z, y, x) = box_around(self.center_angstrom, reach, density.shape, voxel_size_angstrom)
        outward = np.full(density[box].shape, -np.inf, dtype=np.float32)
        for (up, back, right), distance in zip(self.facets, self.distances_angstrom, strict=True):
            np.maximum(outward, up * z + back * y + right * x - distance, out=outward)
        heights, rows, columns = (np.arange(along.start, along.stop) for along in box)
        lowest, highest = slab.faces_at(rows[:, None], columns)
        outside = (heights[:, None, None] < lowest) | (heights[:, None, None] > highest)
        density[box] += np.float32(FROST_DENSITY) * outside * _edge(outward, voxel_size_angstrom).astype(np.float32)


def box_around(
    center_angstrom: Float[np.ndarray, "3"],
    reach_angstrom: float,
    shape_voxel: tuple[int, ...],
    voxel_size_angstrom: float,
) -> tuple[tuple[slice, ...], list[Float[np.ndarray, "..."]]]:
    """Return the part of a grid within reach, and its voxels' offsets from the center, angstrom, one array per axis."""
    box, offsets = [], []
    for axis, (center, edge) in enumerate(zip(center_angstrom, shape_voxel, strict=True)):
        start = min(max(math.floor((center - reach_angstrom) / voxel_size_angstrom), 0), edge)
        stop = min(max(math.ceil((center + reach_angstrom) / voxel_size_angstrom) + 1, start), edge)
        box.append(slice(start, stop))
        offset = (np.arange(start, stop) * voxel_size_angstrom - center).astype(np.float32)
        offsets.append(offset.reshape([-1 if other == axis else 1 for other in range(3)]))
    return tuple(box), offsets


def norm(offset: Sequence[Float[np.ndarray, "..."]]) -> Float[np.ndarray, "z y x"]:
    """Return the lengths of offsets that are given one array per axis."""
    z, y, x = offset
    return np.asarray(np.sqrt(z**2 + y**2 + x**2))


def _outward(
    offset: Sequence[Float[np.ndarray, "..."]], semi_axes: Float[np.ndarray, "3"], rotation: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "z y x"]:
    """Return how far outside an ellipsoid each place lies: exact for a sphere, else to first order near the surface."""
    z, y, x = offset
    # So small that they matter only at the center, which has no direction: there the shortest way out counts.
    level, slope = np.float32(1e-12), np.float32(1e-12 / semi_axes.min() ** 2)
    for column, semi_axis in zip(rotation.T.astype(np.float32), semi_axes.astype(np.float32), strict=True):
        along = (column[0] * z + column[1] * y + column[2] * x) / semi_axis
        level = level + along**2
        slope = slope + (along / semi_axis) ** 2
    root = np.sqrt(level)
    return np.asarray((root - 1) * root / np.sqrt(slope))


def _edge(outward_angstrom: Float[np.ndarray, "..."], voxel_size_angstrom: float) -> Float[np.ndarray, "..."]:
    """Return the share of a voxel that lies inside a surface, from how far its center lies outside."""
    return np.asarray(erfc(outward_angstrom * (math.sqrt(6) / voxel_size_angstrom)) / 2)
