"""A painted layout is the solid that was asked for, turned and moved."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from frazil.core.records import Layout, hidden_layout
from frazil.volume.layout import Painter, outside_heights

UNKNOWN = np.full((3, 3), np.nan)


def ellipsoid(axes, edge=25):
    grid = np.stack(np.meshgrid(*[np.arange(edge) - edge // 2] * 3, indexing="ij"), axis=-1)
    return torch.from_numpy(np.exp(-((grid / axes) ** 2).sum(-1) / 2)).float()


def layout(*particles):
    labels, centers, rotations = zip(*particles, strict=True)
    return Layout(np.array(labels), np.array(centers, float), np.array(rotations, float))


def moments(plane, stride):
    """Return center and covariance of a plane, in voxels of the tomogram."""
    grid = np.stack(np.meshgrid(*map(np.arange, plane.shape), indexing="ij"), axis=-1) * stride + (stride - 1) / 2
    weight = plane.numpy() / plane.sum().item()
    center = (grid * weight[..., None]).sum((0, 1, 2))
    apart = grid - center
    return center, np.einsum("zyx,zyxi,zyxj->ij", weight, apart, apart)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_template_is_turned_and_moved_exactly(stride):
    axes = np.array([1.5, 2.5, 3.5])
    painter = Painter(ellipsoid(axes)[None], [6.0], stride)
    rotation = Rotation.random(random_state=3).as_matrix()
    planes = painter.paint(layout((0, (15.3, 17.8, 16.1), rotation)), (0, 0, 0), (32, 32, 32))
    center, covariance = moments(planes[0], stride)
    np.testing.assert_allclose(center, (15.3, 17.8, 16.1), atol=0.02)
    np.testing.assert_allclose(covariance, rotation @ np.diag(axes**2) @ rotation.T, atol=0.4)


def test_without_an_orientation_it_is_the_mean_over_all():
    painter = Painter(ellipsoid([2.0, 3.0, 4.0])[None], [6.0])
    place, shape = (15.3, 15.8, 16.1), (32, 32, 32)
    turns = Rotation.random(300, random_state=0).as_matrix()
    mean = torch.stack([painter.paint(layout((0, place, turn)), (0, 0, 0), shape)[0] for turn in turns]).mean(dim=0)
    painted = painter.paint(layout((0, place, UNKNOWN)), (0, 0, 0), shape)[0]
    torch.testing.assert_close(painted, mean, atol=0.08, rtol=0)


def test_without_a_template_it_is_a_ball():
    painter = Painter(torch.zeros(1, 25, 25, 25), [5.0], 2)
    plane = painter.paint(layout((0, (15.5, 15.5, 15.5), np.eye(3))), (0, 0, 0), (32, 32, 32))[0]
    assert plane.max() == 1
    assert float(plane.sum()) * 8 == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.05)


def test_what_is_painted_keeps_its_fine_structure():
    # waves of 4 voxels, moved by half a voxel: interpolation between voxels would leave 71 % of them
    grid = np.stack(np.meshgrid(*[np.arange(25) - 12] * 3, indexing="ij"))

    def wave(shift):
        moved = grid - np.array(shift)[:, None, None, None]
        return np.cos(np.pi / 2 * moved[0]) * np.exp(-(moved**2).sum(axis=0) / (2 * 3.0**2))

    painter = Painter(torch.from_numpy(wave((0, 0, 0)).astype(np.float32))[None], [6.0])
    plane = painter.paint(layout((0, (12.5, 12, 12), np.eye(3))), (0, 0, 0), (25, 25, 25))[0].numpy()
    wanted = wave((0.5, 0, 0))
    assert (plane * wanted).sum() / (wanted**2).sum() == pytest.approx(1, abs=0.04)


def test_windows_are_parts_of_the_whole():
    painter = Painter(ellipsoid([2, 3, 4])[None], [6.0], 2)
    placed = layout((0, (20.2, 9.0, 30.4), Rotation.random(random_state=1).as_matrix()), (0, (33.0, 30, 5), UNKNOWN))
    whole = painter.paint(placed, (0, 0, 0), (48, 48, 48), 48)
    part = painter.paint(placed, (16, 0, 8), (32, 16, 32), 48)
    torch.testing.assert_close(part, whole[:, 8:24, :8, 4:20])


def test_heights_run_from_the_first_plane_to_the_last_and_are_kept_when_the_layout_is_hidden():
    painter = Painter(torch.zeros(1, 3, 3, 3), [2.0], 1)
    told = painter.paint(layout((0, (4, 4, 4), UNKNOWN)), (0, 0, 0), (9, 8, 8), 9)
    np.testing.assert_allclose(told[-1, :, 0, 0], np.linspace(-1, 1, 9), atol=1e-6)
    assert (told[-3:-1] == 1).all()
    null = hidden_layout(told)
    assert not null[:-2].any()
    assert torch.equal(null[-2:], told[-2:])
    assert not painter.paint(layout((0, (4, 4, 4), UNKNOWN)), (0, 0, 0), (9, 8, 8))[-2:].any()


def test_planes_outside_of_heights_are_those_above_and_below():
    painter, particle = Painter(torch.zeros(1, 3, 3, 3), [2.0], 1), layout((0, (4, 4, 4), UNKNOWN))
    planes = painter.paint(particle, (2, 0, 0), (8, 4, 4), 11)[None]  # planes 2 to 9 of 11: heights 0.2 to 0.9
    assert outside_heights(planes, (0.35, 0.75)).tolist() == [[1, 1, 0, 0, 0, 0, 1, 1]]
    assert not outside_heights(painter.paint(particle, (2, 0, 0), (8, 4, 4))[None], (0.35, 0.75)).any()


def test_label_maps_are_painted_as_they_are_and_hidden_with_the_layout():
    painter = Painter(torch.zeros(1, 5, 5, 5), [2.0], map_count=2)
    maps = np.random.default_rng(0).random((2, 8, 8, 8)) < 0.3
    planes = painter.paint(layout((0, (4, 4, 4), np.eye(3))), (0, 0, 0), (8, 8, 8), 8, maps)
    assert np.array_equal(planes[1:3].numpy(), maps.astype(np.float32))
    assert not hidden_layout(planes)[:4].any()
    unmarked = painter.paint(layout((0, (4, 4, 4), np.eye(3))), (0, 0, 0), (8, 8, 8), 8)
    assert not unmarked[1:3].any()
    assert torch.equal(unmarked[0], planes[0])
