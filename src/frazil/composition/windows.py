"""Windows that tile a volume: each is predicted with a halo, and only its core is kept. No averaging, which would cost variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from jaxtyping import Int64

HALO_VOXEL = 16
"""Without a halo there are seams; a wider one changes nothing (docs/lab/performance.md)."""

LARGEST_WINDOW_VOXEL = 4_500_000
"""Halo included. A fact of the method and not of the machine, because a voxel depends a little on its window."""

_LONGEST_CORE_VOXEL = 1024

Slices = tuple[slice, slice, slice]


def largest_window(shape_voxel: Sequence[int], multiple: int) -> int:
    """Return the voxels of the largest window of a volume."""
    return max(math.prod(window.shape_voxel) for window in tile(padded_shape(shape_voxel, multiple), multiple))


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
    axes = [
        [_cut(edge, count, multiple, halo) for count in sorted({-(-edge // core) for core in _cores(edge, multiple)})]
        for edge in shape_voxel
    ]
    widths = [[[whole.stop - whole.start for whole, _ in parts] for parts in cuts] for cuts in axes]
    largest = _products([[max(some) for some in cuts] for cuts in widths])
    predicted = _products([[sum(some) for some in cuts] for cuts in widths])
    # where no cut is small enough, the smallest window
    cost = np.where(largest <= largest_voxel, predicted, np.inf) if largest.min() <= largest_voxel else largest
    best = [cuts[number] for cuts, number in zip(axes, np.unravel_index(cost.argmin(), cost.shape), strict=True)]
    return [Window((z[0], y[0], x[0]), (z[1], y[1], x[1])) for z, y, x in product(*best)]


def _products(factors: Sequence[Sequence[int]]) -> Int64[np.ndarray, "z y x"]:
    """Return the products of one number of each axis."""
    z, y, x = factors
    return np.multiply.outer(np.multiply.outer(z, y), x)


def _cores(edge: int, multiple: int) -> range:
    """Return the edges that a core may have."""
    return range(multiple, min(edge, _LONGEST_CORE_VOXEL) + 1, multiple)


def _cut(edge: int, count: int, multiple: int, halo: int) -> list[tuple[slice, slice]]:
    """Return the windows along one axis: whole and core, cores of nearly the same width."""
    ends = [edge // multiple * part // count * multiple for part in range(count + 1)]
    return [(slice(max(0, low - halo), min(edge, high + halo)), slice(low, high)) for low, high in pairwise(ends)]
