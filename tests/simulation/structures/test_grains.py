import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from frazil.simulation.structures.grains import GrainModel, Lobe, add_gaussians, symmetry_rotations

# A lopsided pair of lobes: no rotation but the identity leaves it as it is.
LOPSIDED = GrainModel(
    "lopsided", 50, 100, "C1", (Lobe((0, 0, 0), (30, 20, 12)), Lobe((10, 30, 24), (9, 9, 14), 2.0)), granularity=0.3
)


def ball(radius: float, **options) -> GrainModel:
    mass_kda = 0.81e-3 * 4 / 3 * math.pi * radius**3
    return GrainModel("ball", radius, mass_kda, "C1", (Lobe((0, 0, 0), (radius,) * 3),), **options)


@pytest.mark.parametrize(
    ("symmetry", "order"), [("C1", 1), ("C2", 2), ("C6", 6), ("D2", 4), ("D4", 8), ("D7", 14), ("O", 24), ("I", 60)]
)
def test_point_groups_are_closed(symmetry, order):
    group = symmetry_rotations(symmetry)
    assert len(group) == order
    assert np.linalg.det(group) == pytest.approx(1.0)
    for product in group[:, None] @ group[None] if order < 60 else group[:5, None] @ group[None]:
        for element in product:
            assert np.abs(group - element).max(axis=(1, 2)).min() < 1e-9


@pytest.mark.parametrize("symmetry", ["C2", "C6", "D2", "D4", "D7"])
def test_the_main_axis_lies_along_z(symmetry):
    """The order of the group along z is the one in its name."""
    along_z = [element for element in symmetry_rotations(symmetry) if element[0, 0] > 1 - 1e-9]
    assert len(along_z) == int(symmetry[1:])


def test_gaussians_have_the_integral_over_each_voxel():
    density = np.zeros((15, 16, 17), dtype=np.float32)
    add_gaussians(density, np.array([[7.3, 8.1, 7.6]]), np.array([5.0]), np.array([1.4]))
    share = [
        [(math.erf((i + 0.5 - c) / (1.4 * 2**0.5)) - math.erf((i - 0.5 - c) / (1.4 * 2**0.5))) / 2 for i in range(edge)]
        for c, edge in zip((7.3, 8.1, 7.6), density.shape, strict=True)
    ]
    truth = 5.0 * np.einsum("i,j,k->ijk", *map(np.array, share))
    assert density.sum() == pytest.approx(5.0, rel=1e-5)
    assert np.abs(density - truth).max() < 0.006 * truth.max()


def test_gaussians_add_up_and_what_lies_outside_is_lost():
    density = np.ones((9, 9, 9), dtype=np.float32)
    centers = np.array([[4.0, 4.0, 4.0], [4.0, 4.0, 4.0], [-0.5, 4.0, 4.0], [50.0, 4.0, 4.0], [-60.0, -60.0, 4.0]])
    add_gaussians(density, centers, np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.full(5, 0.7))
    assert density.sum() - 9**3 == pytest.approx(1 + 2 + 4 / 2, rel=1e-4)


@given(
    voxel_size_angstrom=st.floats(5, 16),
    shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    quaternion=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(v * v for v in q) > 0.01),
)
def test_mass_and_center_of_mass_are_true_on_any_grid(voxel_size_angstrom, shift, quaternion):
    edge = 2 * math.ceil(LOPSIDED.support_radius_angstrom / voxel_size_angstrom) + 4
    center = np.full(3, edge // 2) + np.array(shift)
    rotation = Rotation.from_quat(quaternion).as_matrix()
    density = LOPSIDED.density((edge, edge, edge), voxel_size_angstrom, rotation=rotation, center_voxel=center)
    density = density.astype(float)
    assert density.min() >= 0
    assert density.sum() * voxel_size_angstrom**3 == pytest.approx(100e3, rel=1e-4)
    center_of_mass = [(np.indices(density.shape)[axis] * density).sum() / density.sum() for axis in range(3)]
    assert center_of_mass == pytest.approx(center, abs=0.03)


def test_a_ball_is_as_dense_as_protein_and_as_wide_as_it_should_be():
    model = ball(40.0, granularity=0.0)
    density = model.density((41, 41, 41), 4.0)
    radius = 4.0 * np.linalg.norm(np.indices(density.shape) - 20, axis=0)
    inside = density[radius < 25]
    assert inside.mean() == pytest.approx(0.81, rel=0.03)
    assert inside.std() < 0.03 * inside.mean()  # no ripple of the lattice
    assert density[np.abs(radius - 40) < 1.5].mean() == pytest.approx(0.405, rel=0.15)
    assert density[radius > 40 + 4 * model.sigma_angstrom].max() < 0.01


def test_overlapping_lobes_are_no_denser():
    """Two equal lobes in one place are one lobe; a lobe across an axis of symmetry is not counted twice."""
    one = Lobe((0, 0, 0), (30, 24, 24))
    shape, voxel = (17, 17, 17), 6.0
    single = GrainModel("a", 30, 60, "C1", (one,), granularity=0).density(shape, voxel)
    twice = GrainModel("a", 30, 60, "C1", (one, one), granularity=0).density(shape, voxel)
    np.testing.assert_allclose(twice, single, atol=1e-5)
    across = GrainModel("a", 30, 60, "C2", (one,), granularity=0).density(shape, voxel)
    np.testing.assert_allclose(across, single, atol=1e-4)
    pair = GrainModel("a", 30, 60, "C1", (one, Lobe((0, 0, 18), (30, 24, 24))), granularity=0).density(shape, voxel)
    inside = pair[7:10, 7:10, 7:11]
    assert inside.max() < 1.1 * inside.min()


def test_a_small_lobe_has_the_mass_of_its_volume():
    """A lobe as thin as a lattice constant holds one grain or two; its mass must not depend on that."""
    large, small = Lobe((0, 0, 0), (24, 24, 24)), Lobe((0, 0, 60), (4.4, 10, 10))
    centers, masses = GrainModel("a", 30, 50, "C1", (large, small), granularity=0).grains
    small_one = centers[:, 2] > centers[:, 2].min() + 54
    assert masses[small_one].sum() / masses.sum() == pytest.approx(4.4 * 100 / (4.4 * 100 + 24**3), rel=0.02)


def test_granularity_spreads_the_density_over_the_grain_size_and_is_always_the_same():
    granular = ball(80.0, granularity=0.3, grain_size_angstrom=24.0)
    density = granular.density((37, 37, 37), 6.0)
    radius = 6.0 * np.linalg.norm(np.indices(density.shape) - 18, axis=0)
    inside = density[radius < 65]
    assert inside.std() / inside.mean() == pytest.approx(0.26, abs=0.09)
    field = np.where(radius < 65, density - inside.mean(), 0)
    weight = (radius < 65).astype(float)

    def correlation(step: int) -> float:
        return float((field[step:] * field[:-step]).sum() / (weight[step:] * weight[:-step]).sum() / inside.var())

    assert correlation(1) > 0.75
    assert correlation(2) == pytest.approx(0.5, abs=0.25)  # half of 24 A away
    assert abs(correlation(6)) < 0.35
    again = ball(80.0, granularity=0.3, grain_size_angstrom=24.0).density((37, 37, 37), 6.0)
    np.testing.assert_array_equal(again, density)


def test_solid_and_support_radius_hold_the_particle():
    density = LOPSIDED.density((41, 41, 41), 4.0)
    radius = 4.0 * np.linalg.norm(np.indices(density.shape) - 20, axis=0)
    assert density[radius > LOPSIDED.support_radius_angstrom + 4].max() == 0
    solid = (
        np.linalg.norm(LOPSIDED.grains[0], axis=1).max() + 1.18 * LOPSIDED.sigma_angstrom
    )  # half height of the last grain
    assert density[radius > solid + 2].max() < 0.4 * density.max()
    assert density[radius > 0.8 * solid].max() > 0.3 * density.max()
