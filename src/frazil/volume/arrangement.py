"""How particles are arranged in tomograms: statistics of layouts that exist, and layouts drawn from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from frazil.core.errors import PickError
from frazil.core.records import Layout
from frazil.core.settings import Settings, VoxelSize

_ANGSTROM3_PER_UM3 = 1e12
_HEIGHTS = np.linspace(0, 1, 41)
_CLOSEST = 0.02
"""Share of the nearest neighbors that is left out of the smallest distance: pick lists have duplicates."""

OVERLAPPING = 0.4
"""Of the sum of the radii: centers that are nearer to each other cannot both be right, whatever the shapes of the particles."""

MOST_PARTICLES = 65535
"""In a tomogram: numbers of a uint16 mask."""

_Density = Annotated[float, Field(ge=0, le=1e9)]
_TRIES = 200
"""Places that are tried for a particle: spheres put at random and never moved jam when they fill 0.38."""


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
    number_per_um3: dict[str, tuple[_Density, _Density]]
    heights: tuple[Annotated[float, Field(ge=-1, le=2)], ...] = Field(
        min_length=len(_HEIGHTS), max_length=len(_HEIGHTS)
    )
    distance_angstrom: tuple[tuple[NonNegativeFloat | None, ...], ...]

    @model_validator(mode="after")
    def _square(self) -> LayoutStatistics:
        classes = len(self.number_per_um3)
        if [len(row) for row in self.distance_angstrom] != [classes] * classes:
            raise ValueError(f"distance_angstrom is not {classes} x {classes}")
        return self


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


def draw_layout(
    statistics: LayoutStatistics,
    shape_voxel: Sequence[int],
    radius_angstrom: Mapping[str, float],
    generator: np.random.Generator,
) -> Layout:
    """Draw a layout for a tomogram of this shape (zyx) and the statistics' voxel size: particles in random orientations.

    Numbers are normally distributed, and rounded so that their mean stays. The largest particles go first, each to a random place
    (Widom 1966) that no earlier one is nearer to than the smallest distance of their classes, or the sum of their radii, whichever is
    less.

    Raises
    ------
    PickError : there is no room left.
    """
    labels = list(statistics.number_per_um3)
    voxel, depth = statistics.voxel_size_angstrom, shape_voxel[0]
    radii = np.array([radius_angstrom[label] for label in labels])
    touching = radii[:, None] + radii
    seen = np.array(statistics.distance_angstrom, dtype=float)  # None is NaN
    apart = np.fmin(np.fmin(seen, seen.T), touching).clip(min=OVERLAPPING * touching)
    volume_um3 = math.prod(shape_voxel) * voxel**3 / _ANGSTROM3_PER_UM3
    wanted = [
        max(0, math.floor(volume_um3 * generator.normal(mean, std) + generator.uniform()))
        for mean, std in statistics.number_per_um3.values()
    ]
    if sum(wanted) > MOST_PARTICLES:
        shape = ",".join(map(str, shape_voxel))
        raise PickError(
            f"{sum(wanted):,} particles in a tomogram of {shape} voxels (z,y,x), and at most {MOST_PARTICLES} can be; choose a smaller "
            "shape"
        )
    placed = np.repeat(order := np.argsort(-radii, kind="stable"), np.array(wanted)[order])
    centers = np.empty((len(placed), 3))
    for number, label in enumerate(placed):
        distances = apart[label, placed[:number]] / voxel
        for _ in range(_TRIES):
            height = np.interp(generator.uniform(), _HEIGHTS, statistics.heights) * (depth - 1)
            tried = np.array([height, *generator.uniform(0, np.subtract(shape_voxel[1:], 1))])
            if not (np.linalg.norm(centers[:number] - tried, axis=1) < distances).any():
                break
        else:
            done, shape = int((placed[:number] == label).sum()), ",".join(map(str, shape_voxel))
            raise PickError(
                f"{labels[label]}: room for {done} of {wanted[label]} in a tomogram of {shape} voxels (z,y,x); choose a larger "
                "shape, or give the places"
            )
        centers[number] = tried
    rotations = Rotation.random(len(placed), rng=generator).as_matrix().reshape(-1, 3, 3)
    return Layout(placed, centers, rotations)
