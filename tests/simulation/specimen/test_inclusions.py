import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from frazil.simulation.specimen.inclusions import (
    CARBON_DENSITY,
    FROST_DENSITY,
    GOLD_DENSITY,
    CarbonFilm,
    FrostCrystal,
    GoldBead,
    Vesicle,
)
from frazil.simulation.specimen.packing import Slab


def empty(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)


@pytest.mark.parametrize("voxel_size_angstrom", [5.0, 8.0, 12.0])
def test_a_gold_bead_has_the_mass_of_its_sphere(voxel_size_angstrom):
    edge = 2 * math.ceil(90 / voxel_size_angstrom)
    density, solid = empty(edge, edge + 1, edge + 2)
    center = np.array(density.shape) / 2 * voxel_size_angstrom + [1.3, -2.2, 0.7]
    GoldBead(center, 50.0).add_to(density, solid, voxel_size_angstrom)
    assert pytest.approx(26 / 4.2) == GOLD_DENSITY
    truth = GOLD_DENSITY * 4 / 3 * math.pi * 50.0**3
    assert density.sum(dtype=float) * voxel_size_angstrom**3 == pytest.approx(truth, rel=0.02)
    center_of_mass = [(np.indices(density.shape)[a] * density).sum(dtype=float) / density.sum() for a in range(3)]
    assert np.multiply(center_of_mass, voxel_size_angstrom) == pytest.approx(center, abs=0.2)
    assert density.max() == pytest.approx(GOLD_DENSITY, rel=1e-3)
    assert solid[density > 0.5 * GOLD_DENSITY].all()
    assert solid.sum() * voxel_size_angstrom**3 < 1.5 * 4 / 3 * math.pi * 50.0**3


def test_a_vesicle_is_a_bilayer_across():
    """Two maxima 38 A apart, less between them, nothing beyond; the same in every direction."""
    voxel = 3.0
    density, solid = empty(121, 121, 121)
    Vesicle(np.full(3, 180.0), np.full(3, 130.0), np.eye(3)).add_to(density, solid, voxel)
    radius = voxel * np.linalg.norm(np.indices(density.shape) - 60, axis=0)
    shell = np.rint(radius / voxel).astype(int).ravel()
    profile = np.bincount(shell, density.ravel()) / np.bincount(shell)
    at = voxel * np.arange(len(profile))
    inner, outer = (at[np.argmax(np.where(side, profile, 0))] for side in (at < 130, at > 130))
    assert outer - inner == pytest.approx(39, abs=4)
    middle = profile[np.argmin(np.abs(at - 130))]
    assert 0 < middle < 0.5 * profile.max()
    assert 0.4 < profile.max() < 0.81
    assert np.abs(profile[(at < 80) | (at > 180)]).max() < 1e-3
    assert density[np.abs(radius - outer) < 1].std() < 0.06
    assert solid[radius < 155].all()
    assert not solid[radius > 160].any()


def test_the_membrane_of_a_sphere_is_the_shell_between_its_leaflets():
    membrane = np.zeros((60, 61, 62), dtype=np.uint8)
    center, radius, voxel = np.array([300.0, 302.5, 307.1]), 200.0, 10.0
    Vesicle(center, np.full(3, radius), np.eye(3)).mark(membrane, voxel)
    distance = np.linalg.norm(np.argwhere(membrane) * voxel - center, axis=1)
    assert distance.min() >= radius - 27.001
    assert distance.max() <= radius + 27.001
    shell = 4 / 3 * math.pi * ((radius + 27) ** 3 - (radius - 27) ** 3)
    assert membrane.sum() * voxel**3 == pytest.approx(shell, rel=0.01)


def test_a_vesicle_is_turned_like_everything_else():
    """Its long axis is the first column of semi-axes, turned by the rotation."""
    rotation = Rotation.from_rotvec([0.3, 0.8, -0.5]).as_matrix()
    density, solid = empty(61, 61, 61)
    Vesicle(np.full(3, 240.0), np.array([200.0, 100.0, 100.0]), rotation).add_to(density, solid, 8.0)
    offsets = (np.argwhere(solid) - 30) * 8.0
    _, axes = np.linalg.eigh(offsets.T @ offsets)
    assert abs(axes[:, -1] @ rotation[:, 0]) == pytest.approx(1, abs=1e-3)
    assert np.linalg.norm(offsets @ rotation[:, :1], axis=1).max() == pytest.approx(227, abs=8)


def test_things_at_the_border_are_cut_and_what_is_there_stays():
    density, solid = empty(20, 20, 20)
    density += 1
    GoldBead(np.array([0.0, 95.0, 95.0]), 50.0).add_to(density, solid, 10.0)
    GoldBead(np.array([-500.0, 95.0, 95.0]), 50.0).add_to(density, solid, 10.0)
    added = (density - 1).sum(dtype=float) * 1000
    assert added == pytest.approx(GOLD_DENSITY * (2 / 3 * math.pi * 50.0**3 + math.pi * 50.0**2 * 5), rel=0.05)
    assert density.min() == 1


def test_a_film_is_there_outside_its_hole_and_between_its_faces():
    density, solid = empty(30, 40, 50)
    film = CarbonFilm(np.array([195.0, -300.0]), 600.0, np.zeros(16), 52.0, 152.0, np.zeros(2))
    film.add_to(density, solid, 10.0)
    y, x = np.indices((40, 50)) * 10.0
    outside = np.hypot(y - 195, x + 300) > 600
    assert CARBON_DENSITY > 0.81
    truth = CARBON_DENSITY * 10 * outside.sum()  # 100 A are ten voxels
    assert density.sum(dtype=float) == pytest.approx(truth, rel=0.02)
    deep = np.hypot(y - 195, x + 300) > 615
    assert density[10][deep].min() == pytest.approx(CARBON_DENSITY, rel=0.01)
    assert solid[10][deep].all()
    assert not density[[0, 1, 2, 20, 29]].any()
    assert not solid[10][np.hypot(y - 195, x + 300) < 585].any()


def test_a_film_of_tilted_ice_rises():
    """As thick across as a level one, so more along z: 1 / cos of the tilt."""
    density, solid = empty(60, 30, 30)
    CarbonFilm(np.array([-5000.0, 0.0]), 100.0, np.zeros(16), 100.0, 200.0, np.array([0.75, 0.0])).add_to(
        density, solid, 10.0
    )
    along_z = density.sum(axis=0, dtype=float) * 10
    assert along_z == pytest.approx(CARBON_DENSITY * 100, rel=0.02)
    middle = (np.arange(60)[:, None, None] * density).sum(axis=0) / density.sum(axis=0) * 10
    np.testing.assert_allclose(middle, np.broadcast_to(150 + 7.5 * np.arange(30)[:, None], (30, 30)), atol=1)


def test_a_rough_rim_moves_the_edge():
    density, solid = empty(10, 60, 60)
    rim = np.zeros(64)
    rim[:4] = 80.0  # about angle 0, toward +x
    CarbonFilm(np.array([300.0, 0.0]), 300.0, rim, 0.0, 90.0, np.zeros(2)).add_to(density, solid, 10.0)
    along_x, along_y = density[5, 30], density[5, :, 0]
    assert along_x[36] < 0.05 * CARBON_DENSITY < 0.5 * CARBON_DENSITY < along_x[40]
    assert along_y[59] < 0.6 * CARBON_DENSITY


def test_frost_has_the_mass_of_its_polyhedron_outside_the_ice():
    """A brick of 100 x 120 x 140 A that is half sunk into the ice: only the upper half is there."""
    voxel = 4.0
    density, _ = empty(60, 60, 60)
    facets = np.concatenate([np.eye(3), -np.eye(3)])
    slab = Slab(density.shape, thickness_voxel=20)
    center = np.array([slab.faces_voxel[1], 29.3, 30.1]) * voxel
    FrostCrystal(center, facets, np.array([50, 60, 70, 50, 60, 70.0])).add_to(density, slab, voxel)
    truth = FROST_DENSITY * 50 * 120 * 140
    assert density.sum(dtype=float) * voxel**3 == pytest.approx(truth, rel=0.02)
    assert not density[: math.ceil(slab.faces_voxel[1])].any()
