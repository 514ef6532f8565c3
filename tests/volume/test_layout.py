"""A painted layout is the solid that was asked for, turned and moved."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from frazil.core.records import Layout, hidden_layout
from frazil.volume.layout import Painter

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


def test_without_an_orientation_or_a_template_it_is_a_ball():
    painter = Painter(torch.stack([ellipsoid([3, 3, 3]), torch.zeros(25, 25, 25)]), [6.0, 5.0], 2)
    planes = painter.paint(
        layout((0, (15.5, 15.5, 15.5), UNKNOWN), (1, (15.5, 15.5, 15.5), np.eye(3))), (0, 0, 0), (32, 32, 32)
    )
    for plane, radius in zip(planes, (6, 5), strict=False):
        assert plane.max() == 1
        assert float(plane.sum()) * 8 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.05)


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
