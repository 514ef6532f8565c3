import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from frazil.simulation.structures.structure import solid_body


def radii(edge: int) -> np.ndarray:
    return np.linalg.norm(np.indices((edge, edge, edge)) - edge // 2, axis=0)


@pytest.mark.parametrize("voxel_size_angstrom", [5.0, 10.0, 20.0])
def test_a_ball_of_protein_is_solid_to_its_surface(voxel_size_angstrom):
    radius = radii(33) * voxel_size_angstrom
    ball = 0.81 * np.clip((60 - radius) / voxel_size_angstrom + 0.5, 0, 1)
    body = solid_body(ball, voxel_size_angstrom)
    assert body.dtype == bool
    assert body[radius < 60 - voxel_size_angstrom / 4].all()
    assert not body[radius > 60 + voxel_size_angstrom / 2].any()


def shell(voxel_size_angstrom: float, pore_radius_angstrom: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A ferritin-like shell from 40 to 62 A, with a round pore along z."""
    edge = 2 * int(90 / voxel_size_angstrom) + 1
    radius = radii(edge) * voxel_size_angstrom
    density = np.where((radius > 40) & (radius < 62), 0.8, 0.0)
    z, y, x = (np.indices((edge,) * 3) - edge // 2) * voxel_size_angstrom
    density[(np.hypot(y, x) < pore_radius_angstrom) & (z > 0)] = 0
    return density, radius


@pytest.mark.parametrize("voxel_size_angstrom", [4.0, 6.0, 10.0, 20.0])
@pytest.mark.parametrize("pore_radius_angstrom", [0.0, 8.0])
def test_a_hollow_that_only_pores_open_belongs_to_the_body(voxel_size_angstrom, pore_radius_angstrom):
    density, radius = shell(voxel_size_angstrom, pore_radius_angstrom)
    body = solid_body(density, voxel_size_angstrom)
    assert body[radius < 38].all()
    assert not body[radius > 64].any()


def test_a_bowl_stays_open():
    density, radius = shell(4.0, 32.0)
    body = solid_body(density, 4.0)
    assert not body[radius < 20].any()


def test_what_blur_has_thinned_is_still_a_body():
    density = gaussian_filter(np.where(radii(31) < 3, 0.81, 0.0), 3)
    assert density.max() < 0.27
    body = solid_body(density, 5.0)
    assert body[15, 15, 15]
    assert 0.1 * body.size > body.sum() > 50
