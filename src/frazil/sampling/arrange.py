"""A box as a layout: one particle in the middle, in a random orientation, and perhaps neighbors; and what is wrong with some layouts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from frazil.core.errors import PickError
from frazil.core.records import NULL_LABEL, Condition, Layout, TomogramHeader
from frazil.core.settings import Settings
from frazil.io.pick_tables import READERS, read_pick_table
from frazil.model.bundle import BundleCard
from frazil.sampling.request import NamedPosition, Position
from frazil.volume.arrangement import MOST_PARTICLES, OVERLAPPING, LayoutStatistics, draw_layout
from frazil.volume.layout import Painter


class Neighbour(Settings):
    """A particle beside the one in the middle of a box, in the frame of that.

    Parameters
    ----------
    offset_angstrom : zyx, from the middle.
    rotation : object -> the other's frame, acting on zyx vectors, row by row; None draws one.
    """

    label: str
    offset_angstrom: NamedPosition
    rotation: tuple[float, ...] | None = Field(None, min_length=9, max_length=9)


Neighbours = Literal["none", "typical"] | tuple[tuple[Neighbour, ...], ...]
"""Or those of some boxes, which samples take in turn."""


def read_neighbours(path: Path, card: BundleCard, labels: Iterable[str]) -> tuple[tuple[Neighbour, ...], ...]:
    """Read a table of picks around a particle; what it calls a tomogram is a box, and boxes are sorted by name.

    A CSV is in angstrom, another table in what it says, else in voxels of the bundle. `labels` are the classes that may be in the middle.

    Raises
    ------
    PickError : unknown classes, and particles that show in no orientation of the box, or are in each other's place.
    """
    assert card.voxel_size_angstrom is not None
    middle = TomogramHeader("", (0, 0, 0), card.voxel_size_angstrom, str(path))
    boxes: dict[str, list[Neighbour]] = {}
    for some in read_pick_table(path, None if path.suffix.lower() in READERS else "angstrom"):
        if some.label not in card.labels:
            raise PickError(f"{path}: {some.label} is no class of the bundle, which knows {', '.join(card.labels)}")
        places = some.placed(middle).centers_angstrom.tolist()
        turns = [None] * len(places) if some.rotations is None else some.rotations.reshape(-1, 9).tolist()
        boxes.setdefault(some.tomogram, []).extend(
            Neighbour(label=some.label, offset_angstrom=place, rotation=turn)
            for place, turn in zip(places, turns, strict=True)
        )
    reach = math.ceil(card.box_size_voxel * math.sqrt(3) / 2 + max(card.radii_voxel))
    for name, label in product(sorted(boxes), labels):
        alone = Layout(np.array([card.labels.index(label)]), np.zeros((1, 3)), np.eye(3)[None])
        layout = _with(alone, boxes[name], card, np.random.default_rng(0))
        check_layout(layout, (2 * reach + 1,) * 3, card, f"{path}: {name}, around {label}", first_voxel=-reach)
    return tuple(tuple(boxes[name]) for name in sorted(boxes))


def arrange(
    label: str,
    *,
    card: BundleCard,
    box_size_voxel: int,
    neighbours: Neighbours,
    random: np.random.Generator,
    index: int = 0,
) -> Layout:
    """Place a particle at voxel D/2 of a box; ``typical`` adds others, as many as in the training tomograms; or add those that are given.

    Typical neighbors may stand up to a radius outside the box, where they still show, and no nearer than the sum of the radii. Those that
    are given are turned with the particle.
    """
    number, center = card.labels.index(label), float(box_size_voxel // 2)
    alone = Layout(np.array([number]), np.full((1, 3), center), Rotation.random(1, rng=random).as_matrix())
    if neighbours == "none":
        return alone
    if neighbours != "typical":
        return _with(alone, neighbours[index % len(neighbours)], card, random)
    radii = np.array(card.radii_voxel)
    margin = math.ceil(radii.max())
    statistics = card.layouts
    assert statistics is not None
    around = draw_layout(_of_the_slab(statistics), (box_size_voxel + 2 * margin,) * 3, card.radius_angstrom, random)
    numbers = np.array([card.labels.index(name) for name in statistics.number_per_um3])[around.label]
    others = Layout(numbers, around.center_voxel - margin, around.rotation)
    free = np.linalg.norm(others.center_voxel - center, axis=1) >= radii[numbers] + radii[number]
    return Layout(
        np.append(alone.label, others.label[free]),
        np.append(alone.center_voxel, others.center_voxel[free], axis=0),
        np.append(alone.rotation, others.rotation[free], axis=0),
    )


def _with(alone: Layout, others: Sequence[Neighbour], card: BundleCard, random: np.random.Generator) -> Layout:
    """Return a layout with others beside its particle, whose frame they are in."""
    turn, turns = alone.rotation[0], Rotation.random(len(others), rng=random).as_matrix()
    for number, other in enumerate(others):
        if other.rotation is not None:
            turns[number] = turn @ np.reshape(other.rotation, (3, 3))
    offsets = np.array([other.offset_angstrom for other in others]) / card.voxel_size_angstrom @ turn.T
    return Layout(
        np.append(alone.label, [card.labels.index(other.label) for other in others]),
        np.append(alone.center_voxel, alone.center_voxel + offsets, axis=0),
        np.append(alone.rotation, turns, axis=0),
    )


def _of_the_slab(statistics: LayoutStatistics) -> LayoutStatistics:
    """Return the statistics of the part of the tomogram in which particles are, spread evenly over it."""
    lowest, *_, highest = statistics.heights
    share = max(highest - lowest, 0.1)
    numbers = {label: (mean / share, std / share) for label, (mean, std) in statistics.number_per_um3.items()}
    even = tuple(np.linspace(0, 1, len(statistics.heights)).tolist())
    return statistics.model_copy(update={"number_per_um3": numbers, "heights": even})


def check_layout(
    layout: Layout, shape_voxel: Sequence[int], card: BundleCard, origin: str, *, first_voxel: int = 0
) -> None:
    """Refuse a layout without particles, with too many, and particles outside the volume or in each other's place.

    The volume of this shape (zyx) begins at voxel `first_voxel` along each axis.
    """
    assert card.voxel_size_angstrom is not None
    if not 0 < len(layout) <= MOST_PARTICLES:
        raise PickError(f"{origin}: {len(layout)} particles; give at least one and at most {MOST_PARTICLES}")
    centers = layout.center_voxel

    def named(number: int) -> str:
        x, y, z = centers[number, ::-1] * card.voxel_size_angstrom
        return f"{card.labels[layout.label[number]]} at x,y,z {x:.0f},{y:.0f},{z:.0f} A"

    lowest = first_voxel - 0.5
    outside = np.flatnonzero(~((centers > lowest) & (centers < lowest + np.asarray(shape_voxel))).all(axis=1))
    if len(outside):
        shape = ",".join(map(str, shape_voxel))
        raise PickError(
            f"{origin}: {len(outside)} of {len(layout)} particles lie outside its {shape} voxels (z,y,x), e.g. "
            f"{named(outside[0])}; check units and shape, or remove them"
        )
    radii = np.array(card.radii_voxel)[layout.label]
    pairs = KDTree(centers).query_pairs(2 * OVERLAPPING * radii.max(), output_type="ndarray")
    apart = np.linalg.norm(centers[pairs[:, 0]] - centers[pairs[:, 1]], axis=1)
    overlapping = pairs[apart < OVERLAPPING * radii[pairs].sum(axis=1)]
    if len(overlapping):
        one, other = overlapping[0]
        raise PickError(
            f"{origin}: {len(overlapping)} pairs of particles overlap, e.g. {named(one)} and {named(other)}; remove one of each"
        )


def box_condition(layouts: list[Layout], positions: list[Position], card: BundleCard, painter: Painter) -> Condition:
    """Paint the layouts of boxes of `card.box_size_voxel`, each at its height in a typical tomogram."""
    assert card.layouts is not None
    edge, depth = card.box_size_voxel, card.layouts.shape_voxel[0]
    planes = []
    for layout, position in zip(layouts, positions, strict=True):
        start = round(position[0] * (depth - 1)) - edge // 2
        moved = Layout(layout.label, layout.center_voxel + np.array([start, 0, 0]), layout.rotation)
        planes.append(painter.paint(moved, (start, 0, 0), (edge,) * 3, depth))
    tilts = card.tilt_range_degrees or (np.nan, np.nan)
    return Condition(
        torch.full((len(layouts),), NULL_LABEL),
        torch.full((len(layouts), 3), torch.nan),
        torch.stack(planes),
        torch.tensor([tilts] * len(layouts), dtype=torch.float32),
    )
