"""How particles are arranged in tomograms: statistics of layouts that exist, and layouts drawn from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int64
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from frazil.core.errors import PickError
from frazil.core.records import Layout
from frazil.core.seeds import numpy_generator
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
_TRIED = 1000
"""Places that are tried for a particle: spheres put at random and never moved jam when they fill 0.38."""

_SHELLS = (1.5, 2.0, 3.0)
"""Outer radii of the shells around a particle in which neighbors are counted, in sums of the two radii."""

_PRIOR_PAIRS = 3.0
"""Pairs that are added to those of a shell, here and there, so that a single pair does not make a cluster."""

_MOST_REDRAWN, _ROUNDS = 4, 2
"""Layouts that are drawn again to find the clustering, and how often."""

_LEAST_CHANCE = 1e-3
"""Of a free place with many neighbors that particles usually keep away from."""


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
    clustering : `(k, k, 3)` how many times as likely as a random place is one from the smallest distance to 1.5, to 2, and to 3 sums of
        the radii away from another particle; above 1 they cluster. Empty for bundles of before, whose particles do not.
    """

    shape_voxel: tuple[PositiveInt, PositiveInt, PositiveInt]
    voxel_size_angstrom: VoxelSize
    number_per_um3: dict[str, tuple[_Density, _Density]]
    heights: tuple[Annotated[float, Field(ge=-1, le=2)], ...] = Field(
        min_length=len(_HEIGHTS), max_length=len(_HEIGHTS)
    )
    distance_angstrom: tuple[tuple[NonNegativeFloat | None, ...], ...]
    clustering: tuple[tuple[tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat], ...], ...] = ()

    @model_validator(mode="after")
    def _square(self) -> LayoutStatistics:
        classes = len(self.number_per_um3)
        for name, rows in (("distance_angstrom", self.distance_angstrom), ("clustering", self.clustering)):
            if [len(row) for row in rows] != [classes] * classes and (name, rows) != ("clustering", ()):
                raise ValueError(f"{name} is not {classes} x {classes}")
        return self


def layout_statistics(
    layouts: Sequence[Layout],
    shapes_voxel: Sequence[Sequence[int]],
    voxel_size_angstrom: float,
    radius_angstrom: Mapping[str, float],
) -> LayoutStatistics:
    """Measure the layouts of tomograms of these shapes (zyx); the radii name the classes, in the order of their indices."""
    labels = list(radius_angstrom)
    volumes_um3 = np.prod(shapes_voxel, axis=1) * voxel_size_angstrom**3 / _ANGSTROM3_PER_UM3
    counts = np.stack([np.bincount(layout.label, minlength=len(labels)) for layout in layouts])
    numbers = counts / volumes_um3[:, None]
    heights = [
        layout.center_voxel[:, 0] / max(1, shape[0] - 1) for layout, shape in zip(layouts, shapes_voxel, strict=True)
    ]
    z, y, x = np.median(shapes_voxel, axis=0).round().astype(int).tolist()
    classes = range(len(labels))
    statistics = LayoutStatistics(
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
    return _with_clustering(statistics, layouts, shapes_voxel, radius_angstrom)


@dataclass(frozen=True)
class _Spacing:
    """Smallest distances and sums of radii, `(k, k)`, in voxels."""

    closest_voxel: Float[np.ndarray, "k k"]
    touching_voxel: Float[np.ndarray, "k k"]

    @classmethod
    def of(cls, statistics: LayoutStatistics, radius_angstrom: Mapping[str, float]) -> _Spacing:
        """Take the smallest distance that was seen, or the sum of the radii, whichever is less."""
        radii = np.array([radius_angstrom[label] for label in statistics.number_per_um3])
        touching = radii[:, None] + radii
        seen = np.array(statistics.distance_angstrom, dtype=float)  # None is NaN
        closest = np.fmin(np.fmin(seen, seen.T), touching).clip(min=OVERLAPPING * touching)
        return cls(closest / statistics.voxel_size_angstrom, touching / statistics.voxel_size_angstrom)

    def shells(
        self, distance_voxel: Float[np.ndarray, "n"], one: Int64[np.ndarray, "n"], other: Int64[np.ndarray, "n"]
    ) -> Int64[np.ndarray, "n"]:
        """Return the shells of pairs of these classes: 0 is too near, 1 to 3 are those of `_SHELLS`, 4 is beyond."""
        shell = 1 + np.searchsorted(_SHELLS, distance_voxel / self.touching_voxel[one, other], side="right")
        return np.where(distance_voxel < self.closest_voxel[one, other], 0, shell)

    @property
    def reach_voxel(self) -> float:
        """Beyond it nothing is counted."""
        return _SHELLS[-1] * float(self.touching_voxel.max())


def _with_clustering(
    statistics: LayoutStatistics,
    layouts: Sequence[Layout],
    shapes_voxel: Sequence[Sequence[int]],
    radius_angstrom: Mapping[str, float],
) -> LayoutStatistics:
    """Find the clustering with which layouts that are drawn have as many pairs in each shell as those that exist."""
    some = range(0, len(layouts), -(-len(layouts) // _MOST_REDRAWN))
    spacing = _Spacing.of(statistics, radius_angstrom)
    seen = np.sum([_pairs(layouts[number], spacing) for number in some], axis=0)
    with suppress(PickError):  # denser than can be drawn
        for turn in range(_ROUNDS):
            drawn = [
                draw_layout(
                    statistics, shapes_voxel[number], radius_angstrom, numpy_generator(0, "clustering", turn, number)
                )
                for number in some
            ]
            pairs = np.sum([_pairs(layout, spacing) for layout in drawn], axis=0)
            ratio = ((seen + _PRIOR_PAIRS) / (pairs + _PRIOR_PAIRS))[..., 1:-1]
            fitted = np.array(statistics.clustering or np.ones_like(ratio)) * ratio
            statistics = statistics.model_copy(
                update={"clustering": tuple(tuple(map(tuple, row)) for row in fitted.tolist())}
            )
    return statistics


def _pairs(layout: Layout, spacing: _Spacing) -> Float[np.ndarray, "k k shells"]:
    """Return how many pairs there are of each two classes, in each shell; a pair of two classes counts for both."""
    centers, classes = layout.center_voxel, len(spacing.touching_voxel)
    first, second = KDTree(centers).query_pairs(spacing.reach_voxel, output_type="ndarray").T
    distance = np.linalg.norm(centers[first] - centers[second], axis=1)
    one, other = layout.label[first], layout.label[second]
    found = np.zeros((classes, classes, len(_SHELLS) + 2))
    np.add.at(found, (one, other, spacing.shells(distance, one, other)), 1)
    return found + found.transpose(1, 0, 2)


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

    Numbers are normally distributed, and rounded so that their mean stays. The largest particles go first, each to one of a thousand
    random places (Widom 1966): none that an earlier one is nearer to than the smallest distance of their classes, or the sum of their
    radii, whichever is less; the others in proportion to 1 and what each earlier one near them adds to that by its clustering.

    Raises
    ------
    PickError : there is no room left.
    """
    labels = list(statistics.number_per_um3)
    voxel, depth = statistics.voxel_size_angstrom, shape_voxel[0]
    spacing = _Spacing.of(statistics, radius_angstrom)
    weights = np.ones((len(labels), len(labels), len(_SHELLS) + 2))
    weights[..., 0] = 0
    if statistics.clustering:
        weights[..., 1:-1] = statistics.clustering
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
    order = np.argsort(-spacing.touching_voxel.diagonal(), kind="stable")
    placed = np.repeat(order, np.array(wanted)[order])
    centers = np.empty((len(placed), 3))
    for number, label in enumerate(placed):
        tried = generator.uniform(0, (1, *np.subtract(shape_voxel[1:], 1)), size=(_TRIED, 3))
        tried[:, 0] = np.interp(tried[:, 0], _HEIGHTS, statistics.heights) * (depth - 1)
        chances = _chances(tried, int(label), placed[:number], centers[:number], spacing, weights)
        if not chances.any():
            done, shape = int((placed[:number] == label).sum()), ",".join(map(str, shape_voxel))
            raise PickError(
                f"{labels[label]}: room for {done} of {wanted[label]} in a tomogram of {shape} voxels (z,y,x); choose a larger "
                "shape, or give the places"
            )
        centers[number] = tried[generator.choice(_TRIED, p=chances / chances.sum())]
    rotations = Rotation.random(len(placed), rng=generator).as_matrix().reshape(-1, 3, 3)
    return Layout(placed, centers, rotations)


def _chances(
    tried_voxel: Float[np.ndarray, "n 3"],
    label: int,
    placed: Int64[np.ndarray, "m"],
    center_voxel: Float[np.ndarray, "m 3"],
    spacing: _Spacing,
    weights: Float[np.ndarray, "k k shells"],
) -> Float[np.ndarray, "n"]:
    """Return how likely each place is for a particle of a class, given all that are placed."""
    near = KDTree(tried_voxel).sparse_distance_matrix(KDTree(center_voxel), spacing.reach_voxel, output_type="ndarray")
    other = placed[near["j"]]
    factors = weights[label, other, spacing.shells(near["v"], np.full_like(other, label), other)]
    chances = (1 + np.bincount(near["i"], factors - 1, len(tried_voxel))).clip(min=_LEAST_CHANCE)
    chances[near["i"][factors == 0]] = 0
    return chances
