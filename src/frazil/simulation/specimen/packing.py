"""The ice as a slab, and packing: solid bodies put one by one at random free places of it, never moved again.

A body is drawn once, in one orientation and with one sub-voxel shift, and tried at whole-voxel places: first at random, which
is quick while there is room; if that fails, one convolution per tile finds every free place. So a crowded specimen fills up
until the drawn body fits nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.signal import fftconvolve

from frazil.simulation.structures.catalog import Structure
from frazil.simulation.structures.individual import make_individual
from frazil.simulation.structures.structure import solid_body

Place = tuple[int, ...]  # voxel of the tomogram, zyx

_ROUNDS = 4  # of random candidates, before the search of all places
_CANDIDATES = 2048
_FIRST_LOOKS = (8, 64)  # voxels of the body that are looked up for all candidates at once
_TILE_VOXEL = 96
MOST_STRETCHED = 2.5  # standard deviations of a particle's size
_GOLDEN = 0.6180339887498949


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
        """Unit vector normal to the ice, zyx, toward higher z."""
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


@dataclass(frozen=True)
class Body:
    """A particle drawn in one orientation (object -> tomogram) in a cube, to be put at whole voxels.

    The shift leads from the cube's middle voxel to the particle's center, zyx, within half a voxel.
    """

    density: Float[np.ndarray, "n n n"]
    solid: Bool[np.ndarray, "n n n"]
    rotation: Float[np.ndarray, "3 3"]
    shift_voxel: Float[np.ndarray, "3"]

    @property
    def middle(self) -> int:
        """Index, along each axis, of the voxel that is put at a place."""
        return len(self.density) // 2

    @cached_property
    def offsets(self) -> Int64[np.ndarray, "n 3"]:
        """Voxels of the body as steps from the middle, in an order whose beginning samples all of it."""
        steps = np.argwhere(self.solid) - self.middle
        return np.asarray(steps[np.argsort(np.arange(len(steps)) * _GOLDEN % 1)])


def draw_body(
    structure: Structure,
    voxel_size_angstrom: float,
    rotation: Float[np.ndarray, "3 3"],
    shift_voxel: Float[np.ndarray, "3"],
    stretch: Float[np.ndarray, "3"] | None = None,
    generator: np.random.Generator | None = None,
) -> Body:
    """Draw a structure in a cube that just holds it, stretched by these factors along its own axes, zyx.

    With a generator, its density is that of an individual (`make_individual`).
    """
    edge = box_edge(structure, voxel_size_angstrom)
    center_voxel = (edge // 2 + shift_voxel).tolist()
    drawn = rotation if stretch is None else rotation * stretch
    density = structure.density((edge,) * 3, voxel_size_angstrom, rotation=drawn, center_voxel=center_voxel)
    solid = solid_body(density, voxel_size_angstrom)
    if not solid.any():
        solid[np.unravel_index(density.argmax(), density.shape)] = True  # voxels larger than the body
    if generator is not None:
        density = make_individual(
            density,
            solid,
            voxel_size_angstrom,
            generator,
            label=structure.label,
            patchiness=structure.patchiness,
            contents_kda=structure.contents_kda,
        )
    return Body(density, solid, rotation, shift_voxel)


def box_edge(structure: Structure, voxel_size_angstrom: float) -> int:
    """Return the edge of the cube in which a structure is drawn, an odd number of voxels."""
    radius = structure.support_radius_angstrom * (1 + MOST_STRETCHED * structure.size_spread)
    return 2 * int(np.ceil(radius / voxel_size_angstrom + 0.5)) + 1


class Canvas:
    """A specimen that is being filled: what is solid, the density, and which particle is where.

    Bodies may reach past the y and x borders of the tomogram, by the margin at most, and do not overlap there either; their
    centers may not.
    """

    def __init__(self, slab: Slab, *, margin_voxel: int) -> None:
        self.slab = slab
        self.density = np.zeros(slab.shape_voxel, dtype=np.float32)
        self.instances = np.zeros(slab.shape_voxel, dtype=np.uint16)
        self.filled_voxel = 0
        self._blocked_voxel = 0
        self._margin = margin_voxel
        self._solid = np.zeros([edge + 2 * margin_voxel for edge in slab.shape_voxel], dtype=bool)

    @property
    def solid(self) -> Bool[np.ndarray, "z y x"]:
        """Voxels of the tomogram where a body is, or something that was blocked; a view."""
        return self._solid[tuple(slice(self._margin, self._margin + edge) for edge in self.slab.shape_voxel)]

    @property
    def room_voxel(self) -> int:
        """Voxels of ice that are not blocked."""
        return self.slab.volume_voxel - self._blocked_voxel

    @property
    def tile_count(self) -> int:
        """Tiles in which `find_place` searches, one convolution each."""
        return int(np.prod([-(-edge // _TILE_VOXEL) for edge in self.slab.shape_voxel[1:]]))

    def block(self, solid: Bool[np.ndarray, "z y x"]) -> None:
        """Keep bodies off these voxels, before any is put: they hold something else, such as a carbon film."""
        inner = self.solid
        inner |= solid
        lowest, highest = self.slab.columns
        for z, plane in enumerate(inner):  # plane by plane: less memory
            self._blocked_voxel += int(np.count_nonzero(plane & (lowest <= z) & (z <= highest)))

    def overlap(self, body: Body, place: Place) -> int:
        """Return how many voxels of the body are taken already."""
        return int(np.count_nonzero(body.solid & self._solid[self._around(body, place)]))

    def put(self, body: Body, place: Place, instance: int) -> None:
        """Add a body. Where it overlaps another, as close picks do, the denser one counts: matter does not share space.

        In the mask, instance 0 leaves it out, and a voxel of two bodies stays with the first.
        """
        taken = self._solid[self._around(body, place)]
        starts = [along - body.middle for along in place]
        # The part of the tomogram that the body's cube covers, and the same part of the cube.
        covered = [
            (max(start, 0), min(start + len(body.density), edge))
            for start, edge in zip(starts, self.slab.shape_voxel, strict=True)
        ]
        inside = tuple(slice(low, high) for low, high in covered)
        seen = tuple(slice(low - start, high - start) for start, (low, high) in zip(starts, covered, strict=True))
        solid, shared = body.solid[seen], body.solid[seen] & taken[seen]
        density, instances = self.density[inside], self.instances[inside]
        density[...] = np.where(shared, np.maximum(density, body.density[seen]), density + body.density[seen])
        instances[solid & (instances == 0)] = instance
        self.filled_voxel += int(np.count_nonzero(solid & ~shared))
        taken |= body.solid

    def find_place(self, body: Body, generator: np.random.Generator) -> Place | None:
        """Return a random place where the body lies in the ice and overlaps nothing, or None if there is none."""
        # The first and the last y and x: the center, sub-voxel shift included, is between those of the outermost voxels.
        shift = body.shift_voxel[1:]
        low, high = (shift < 0).astype(np.int64), np.asarray(self.slab.shape_voxel[1:]) - 1 - (shift > 0)
        for _ in range(_ROUNDS):
            place = self._first_free(self._candidates(body, low, high, generator), body)
            if place is not None:
                return place
        corners = [
            (y, x) for y in range(low[0], high[0] + 1, _TILE_VOXEL) for x in range(low[1], high[1] + 1, _TILE_VOXEL)
        ]
        for index in generator.permutation(len(corners)):
            start = np.array(corners[index])
            free = self._free_places(body, start, np.minimum(start + _TILE_VOXEL, high + 1))
            if len(free):
                return tuple(free[generator.integers(len(free))].tolist())
        return None

    def place_beside(self, body: Body, place: Place, generator: np.random.Generator) -> Place | None:
        """Return the nearest free place in the ice in a random direction from another, or None if there is none."""
        direction = generator.standard_normal(3)
        direction /= np.linalg.norm(direction)
        for step in range(2 * len(body.density)):
            there = np.rint(place + step * direction).astype(np.int64)
            lowest, highest = self.slab.heights(there[1:2], there[2:], body.offsets)
            inside = (there[1:] >= 0).all() and (there[1:] < self.slab.shape_voxel[1:]).all()
            if not (inside and lowest[0] <= there[0] <= highest[0]):
                return None
            if not self.overlap(body, tuple(there.tolist())):
                return tuple(there.tolist())
        return None

    def _candidates(
        self, body: Body, low: Int64[np.ndarray, "2"], high: Int64[np.ndarray, "2"], generator: np.random.Generator
    ) -> Int64[np.ndarray, "k 3"]:
        """Return random places, evenly spread over those where the body lies in the ice."""
        yx = generator.integers(low, high + 1, size=(_CANDIDATES, 2))
        lowest, highest = self.slab.heights(yx[:, 0], yx[:, 1], body.offsets)
        room = highest - lowest + 1
        if room.max() < 1:
            return np.empty((0, 3), dtype=np.int64)
        # Columns with less room, where the tomogram cuts the ice, must get fewer.
        step = generator.integers(room.max(), size=_CANDIDATES)
        return np.asarray(np.column_stack([lowest + step, yx])[step < room])

    def _first_free(self, candidates: Int64[np.ndarray, "k 3"], body: Body) -> Place | None:
        """Return the first candidate where the body overlaps nothing."""
        solid = self._solid.reshape(-1)
        strides = np.array([self._solid.shape[1] * self._solid.shape[2], self._solid.shape[2], 1])
        steps = body.offsets @ strides
        starts = (candidates + self._margin) @ strides
        begin = 0
        for end in _FIRST_LOOKS:
            free = ~solid[starts[:, None] + steps[begin:end]].any(axis=1)
            starts, candidates, begin = starts[free], candidates[free], end
        for start, candidate in zip(starts, candidates, strict=True):
            if not solid[start + steps[begin:]].any():
                return tuple(candidate.tolist())
        return None

    def _free_places(
        self, body: Body, start: Int64[np.ndarray, "2"], stop: Int64[np.ndarray, "2"]
    ) -> Int64[np.ndarray, "n 3"]:
        """Return all free places with y and x in a tile: those where no voxel of the body is solid already."""
        y, x = (np.arange(a, b) for a, b in zip(start, stop, strict=True))
        lowest, highest = self.slab.heights(y[:, None], x, body.offsets)
        bottom, top = int(lowest.min()), int(highest.max())
        if (lowest > highest).all():
            return np.empty((0, 3), dtype=np.int64)
        first, last = body.offsets.min(axis=0), body.offsets.max(axis=0)
        corner = np.array([bottom, *start]) + first + self._margin
        end = np.array([top + 1, *stop]) + last + self._margin
        tile = self._solid[tuple(map(slice, corner, end))]
        kernel = body.solid[tuple(map(slice, body.middle + first, body.middle + last + 1))]
        shared = fftconvolve(tile.astype(np.float32), kernel[::-1, ::-1, ::-1].astype(np.float32), mode="valid")
        z = np.arange(bottom, top + 1)[:, None, None]
        free = (shared < 0.5) & (z >= lowest) & (z <= highest)
        return np.asarray(np.argwhere(free) + np.array([bottom, *start]))

    def _around(self, body: Body, place: Place) -> tuple[slice, ...]:
        """Return the cube of a body in the solid voxels with their margin."""
        starts = [along - body.middle + self._margin for along in place]
        return tuple(slice(start, start + len(body.density)) for start in starts)
