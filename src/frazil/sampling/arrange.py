"""A box as a layout: one particle in the middle, in a random orientation, and perhaps the neighbors that it typically has."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from frazil.core.records import NULL_LABEL, Condition, Layout
from frazil.model.bundle import BundleCard
from frazil.sampling.request import Position
from frazil.volume.arrangement import LayoutStatistics, draw_layout
from frazil.volume.layout import Painter

Neighbours = Literal["none", "typical"]


def arrange(
    label: str, *, card: BundleCard, box_size_voxel: int, neighbours: Neighbours, random: np.random.Generator
) -> Layout:
    """Place a particle at voxel D/2 of a box; ``typical`` adds others, as many as in the training tomograms.

    Neighbors may stand up to a radius outside the box, where they still show. None stands nearer than the sum of the radii.
    """
    statistics = card.layouts
    assert statistics is not None
    number, center = card.labels.index(label), float(box_size_voxel // 2)
    alone = Layout(np.array([number]), np.full((1, 3), center), Rotation.random(1, rng=random).as_matrix())
    if neighbours == "none":
        return alone
    radii = np.array([card.radius_angstrom[name] for name in card.labels]) / statistics.voxel_size_angstrom
    margin = math.ceil(radii.max())
    around = draw_layout(_of_the_slab(statistics), (box_size_voxel + 2 * margin,) * 3, card.radius_angstrom, random)
    numbers = np.array([card.labels.index(name) for name in statistics.number_per_um3])[around.label]
    others = Layout(numbers, around.center_voxel - margin, around.rotation)
    free = np.linalg.norm(others.center_voxel - center, axis=1) >= radii[numbers] + radii[number]
    return Layout(
        np.append(alone.label, others.label[free]),
        np.append(alone.center_voxel, others.center_voxel[free], axis=0),
        np.append(alone.rotation, others.rotation[free], axis=0),
    )


def _of_the_slab(statistics: LayoutStatistics) -> LayoutStatistics:
    """Return the statistics of the part of the tomogram in which particles are, spread evenly over it."""
    lowest, *_, highest = statistics.heights
    share = max(highest - lowest, 0.1)
    numbers = {label: (mean / share, std / share) for label, (mean, std) in statistics.number_per_um3.items()}
    even = tuple(np.linspace(0, 1, len(statistics.heights)).tolist())
    return statistics.model_copy(update={"number_per_um3": numbers, "heights": even})


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
