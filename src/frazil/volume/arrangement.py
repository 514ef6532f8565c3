"""How particles are arranged in tomograms: statistics of layouts that exist, and layouts drawn from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt
from scipy.spatial import KDTree

from frazil.core.records import Layout
from frazil.core.settings import Settings, VoxelSize

_ANGSTROM3_PER_UM3 = 1e12
_HEIGHTS = np.linspace(0, 1, 41)
_CLOSEST = 0.02
"""Share of the nearest neighbors that is left out of the smallest distance: pick lists have duplicates."""


class LayoutStatistics(Settings):
    """What the layouts of some tomograms have in common.

    Parameters
    ----------
    shape_voxel : zyx, the median over the tomograms.
    voxel_size_angstrom : of the tomograms.
    number_per_um3 : mean and standard deviation, over the tomograms, of the number of each class in a cubic micrometer.
    heights : of all particles, 0 at the lowest plane of the tomogram and 1 at the highest: quantiles at even shares, from the
        lowest particle to the highest.
    distance_angstrom : `(k, k)` how near a particle of one class (row) comes to its nearest of another (column), in the order of
        `number_per_um3`; None for a pair that no tomogram shows.
    """

    shape_voxel: tuple[PositiveInt, PositiveInt, PositiveInt]
    voxel_size_angstrom: VoxelSize
    number_per_um3: dict[str, tuple[NonNegativeFloat, NonNegativeFloat]]
    heights: tuple[float, ...]
    distance_angstrom: tuple[tuple[NonNegativeFloat | None, ...], ...]


def layout_statistics(
    layouts: Sequence[Layout],
    shapes_voxel: Sequence[Sequence[int]],
    voxel_size_angstrom: float,
    labels: Sequence[str],
) -> LayoutStatistics:
    """Measure the layouts of tomograms of these shapes (zyx); `labels` are the names of the class indices, in their order."""
    volumes_um3 = np.prod(shapes_voxel, axis=1) * voxel_size_angstrom**3 / _ANGSTROM3_PER_UM3
    counts = np.stack([np.bincount(layout.label, minlength=len(labels)) for layout in layouts])
    numbers = counts / volumes_um3[:, None]
    heights = [
        layout.center_voxel[:, 0] / max(1, shape[0] - 1) for layout, shape in zip(layouts, shapes_voxel, strict=True)
    ]
    z, y, x = np.median(shapes_voxel, axis=0).round().astype(int).tolist()
    classes = range(len(labels))
    return LayoutStatistics(
        shape_voxel=(z, y, x),
        voxel_size_angstrom=voxel_size_angstrom,
        number_per_um3={
            label: (mean, std)
            for label, mean, std in zip(
                labels, numbers.mean(axis=0).tolist(), numbers.std(axis=0).tolist(), strict=True
            )
        },
        heights=tuple(np.quantile(np.concatenate(heights), _HEIGHTS).tolist()),
        distance_angstrom=tuple(
            tuple(_closest(layouts, one, other, voxel_size_angstrom) for other in classes) for one in classes
        ),
    )


def _closest(layouts: Sequence[Layout], one: int, other: int, voxel_size_angstrom: float) -> float | None:
    """Return how near, in angstrom, a particle of one class comes to one of another class, or to another one of its own."""
    nearest = []
    for layout in layouts:
        ours, theirs = (layout.center_voxel[layout.label == label] for label in (one, other))
        if len(ours) and len(theirs) > (one == other):
            distances, _ = KDTree(theirs).query(ours, k=[2 if one == other else 1])
            nearest.append(np.asarray(distances)[:, 0])
    if not nearest:
        return None
    return float(np.quantile(np.concatenate(nearest), _CLOSEST) * voxel_size_angstrom)
