"""Windows that tile a volume: each is predicted with a halo, and only its core is kept. No averaging, which would cost variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

HALO_VOXEL = 16
"""Without a halo there are seams; a wider one changes nothing (docs/lab/performance.md)."""

LARGEST_WINDOW_VOXEL = 5_000_000
"""Halo included. A fact of the method and not of the machine, because a voxel depends a little on its window."""

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Window:
    """A part of a volume: what is predicted, and the core of it that is kept, both in voxels of the volume."""

    whole: Slices
    core: Slices

    @property
    def core_in_whole(self) -> Slices:
        """Where the core is in the window."""
        z, y, x = (
            slice(core.start - whole.start, core.stop - whole.start)
            for core, whole in zip(self.core, self.whole, strict=True)
        )
        return z, y, x

    @property
    def shape_voxel(self) -> tuple[int, int, int]:
        """Edges of what is predicted."""
        z, y, x = (axis.stop - axis.start for axis in self.whole)
        return z, y, x


def padded_shape(shape_voxel: Sequence[int], multiple: int) -> tuple[int, int, int]:
    """Return the smallest shape of edges that the network can halve which holds a volume."""
    z, y, x = (-(-edge // multiple) * multiple for edge in shape_voxel)
    return z, y, x


def tile(
    shape_voxel: Sequence[int],
    multiple: int,
    *,
    halo_voxel: int = HALO_VOXEL,
    largest_voxel: int = LARGEST_WINDOW_VOXEL,
) -> list[Window]:
    """Return the windows of a volume whose edges are multiples of `multiple`; so are those of the windows.

    Of all even cuts whose largest window has at most `largest_voxel` voxels, those that predict the fewest in all are taken.
    """
    halo = -(-halo_voxel // multiple) * multiple
    cuts = [[_cut(edge, count, multiple, halo) for count in range(1, edge // multiple + 1)] for edge in shape_voxel]

    def voxels(axes: Sequence[Sequence[tuple[slice, slice]]]) -> tuple[bool, int]:
        edges = [[whole.stop - whole.start for whole, _ in parts] for parts in axes]
        largest = math.prod(map(max, edges))
        # where no cut is small enough, the smallest window
        return (True, largest) if largest > largest_voxel else (False, math.prod(map(sum, edges)))

    best = min(product(*cuts), key=voxels)
    return [Window((z[0], y[0], x[0]), (z[1], y[1], x[1])) for z, y, x in product(*best)]


def _cut(edge: int, count: int, multiple: int, halo: int) -> list[tuple[slice, slice]]:
    """Return the windows along one axis: whole and core, cores of nearly the same width."""
    ends = [edge // multiple * part // count * multiple for part in range(count + 1)]
    return [(slice(max(0, low - halo), min(edge, high + halo)), slice(low, high)) for low, high in pairwise(ends)]
