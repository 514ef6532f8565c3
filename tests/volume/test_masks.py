import numpy as np
import torch

from frazil.core.records import Layout
from frazil.volume.layout import Painter
from frazil.volume.masks import instance_mask

DISTANCE = np.linalg.norm(np.indices((25, 25, 25)) - 12, axis=0)


def test_a_shell_counts_with_its_cavity_and_meets_its_neighbor_and_the_border():
    shell = torch.from_numpy(((DISTANCE > 6) & (DISTANCE < 9)).astype(np.float32))
    painter = Painter(torch.stack([shell, torch.zeros_like(shell)]), (9.0, 4.0))
    centers = np.array([[10.0, 10, 10], [10, 10, 20], [10, 39, 10]])
    layout = Layout(np.array([0, 1, 0]), centers, np.tile(np.eye(3), (3, 1, 1)))
    mask = instance_mask(layout, (20, 40, 30), painter, 10.0)
    grid = np.moveaxis(np.indices(mask.shape), 0, -1)
    ball = [np.linalg.norm(grid - center, axis=-1) < radius for center, radius in zip(centers, (9, 4, 9), strict=True)]
    assert np.array_equal(mask == 1, ball[0])
    assert np.array_equal(mask == 2, ball[1] & ~ball[0])
    assert np.array_equal(mask == 3, ball[2])


def test_a_turned_rod_lies_as_its_rotation_says():
    rod = torch.zeros(1, 25, 25, 25)
    rod[0, 4:21, 11:14, 11:14] = 1.0  # along z
    quarter = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # z -> -x
    layout = Layout(np.array([0]), np.array([[15.0, 15, 15]]), quarter[None])
    solid = np.argwhere(instance_mask(layout, (31, 31, 31), Painter(rod, (9.0,)), 10.0))
    assert np.ptp(solid, axis=0).tolist() == [2, 2, 16]


def test_particles_that_lie_outside_are_in_no_voxel():
    painter = Painter(torch.zeros(1, 3, 3, 3), (4.0,))
    centers = np.array([[10.0, 10, 10], [10, 60, 10], [-20, 10, 10], [10, 10, 32]])
    layout = Layout(np.zeros(4, dtype=int), centers, np.tile(np.eye(3), (4, 1, 1)))
    assert np.unique(instance_mask(layout, (20, 40, 30), painter, 10.0)).tolist() == [0, 1, 4]
