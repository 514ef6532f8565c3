import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from frazil.errors import SimulationError
from frazil.simulation.structures import PARTICLES, find_models, symmetry_rotations

SHAPE = (57, 57, 57)
VOXEL_SIZE_ANGSTROM = 6.0
MIDDLE = 28

GOLDEN = (1 + 5**0.5) / 2

# Rotations that must leave a particle as it is: angle in degrees, axis zyx. Written down, not taken from the code.
SYMMETRIES = {
    "apo-ferritin": [(90, (1, 0, 0)), (90, (0, 0, 1)), (120, (1, 1, 1)), (180, (0, 1, 1))],
    "virus-like-particle": [(72, (1, 0, GOLDEN)), (120, (1, 1, 1)), (180, (0, 0, 1)), (72, (0, GOLDEN, 1))],
    "beta-amylase": [(180, (1, 0, 0)), (180, (0, 1, 0)), (180, (0, 0, 1))],
    "beta-galactosidase": [(180, (1, 0, 0)), (180, (0, 1, 0)), (180, (0, 0, 1))],
    "thyroglobulin": [(180, (1, 0, 0))],
}
# Rotations that must not.
BROKEN = {
    "apo-ferritin": [(45, (1, 0, 0)), (72, (1, 0, GOLDEN))],
    "virus-like-particle": [(90, (1, 0, 0)), (72, (1, 1, 1)), (60, (1, 0, GOLDEN))],
    "beta-amylase": [(90, (1, 0, 0)), (120, (1, 1, 1))],
    "beta-galactosidase": [(90, (1, 0, 0)), (120, (1, 1, 1))],
    "thyroglobulin": [(180, (0, 1, 0)), (180, (0, 0, 1)), (90, (1, 0, 0))],
    "ribosome": [(180, (1, 0, 0)), (180, (0, 1, 0)), (180, (0, 0, 1)), (120, (1, 1, 1))],
}


def rotation_zyx(angle_degrees: float, axis_zyx) -> np.ndarray:
    """Rodrigues' formula; a rotation about an axis is the same map whether its vectors are written zyx or xyz."""
    z, y, x = np.asarray(axis_zyx, dtype=float) / np.linalg.norm(axis_zyx)
    matrix = Rotation.from_rotvec(np.radians(angle_degrees) * np.array([x, y, z])).as_matrix()
    return matrix[::-1, ::-1]


def turned(volume: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Rotate voxels about the middle by interpolation, independent of how particles are drawn."""
    middle = np.full(3, MIDDLE, dtype=float)
    return affine_transform(volume, rotation.T, offset=middle - rotation.T @ middle, order=3)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def without_radial_mean(volume: np.ndarray) -> np.ndarray:
    """What a shell's symmetry is about: the differences between directions. Any rotation keeps the mean over them."""
    z, y, x = np.indices(volume.shape) - MIDDLE
    shell = np.rint(np.sqrt(z**2 + y**2 + x**2)).astype(int).ravel()
    mean = np.bincount(shell, volume.ravel()) / np.bincount(shell)
    return volume - mean[shell].reshape(volume.shape)


def radial_profile(plane: np.ndarray, voxel_size_angstrom: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices(plane.shape) - MIDDLE
    shell = np.rint(np.hypot(y, x)).astype(int)
    profile = np.bincount(shell.ravel(), plane.ravel()) / np.bincount(shell.ravel())
    return np.arange(len(profile)) * voxel_size_angstrom, profile


@pytest.fixture(scope="module")
def densities() -> dict[str, np.ndarray]:
    return {label: model.density(SHAPE, VOXEL_SIZE_ANGSTROM) for label, model in PARTICLES.items()}


def test_the_six_species_with_the_radii_of_the_challenge():
    assert {label: model.radius_angstrom for label, model in PARTICLES.items()} == {
        "apo-ferritin": 60,
        "beta-amylase": 65,
        "beta-galactosidase": 90,
        "ribosome": 150,
        "thyroglobulin": 130,
        "virus-like-particle": 135,
    }


@pytest.mark.parametrize(("symmetry", "order"), [("C1", 1), ("C2", 2), ("D2", 4), ("O", 24), ("I", 60)])
def test_point_groups_are_closed(symmetry, order):
    group = symmetry_rotations(symmetry)
    assert len(group) == order
    assert np.linalg.det(group) == pytest.approx(1.0)
    for product in group[:, None] @ group[None] if order < 60 else group[:5, None] @ group[None]:
        for element in product:
            assert np.abs(group - element).max(axis=(1, 2)).min() < 1e-9


@pytest.mark.parametrize(("label", "angle", "axis"), [(k, *pair) for k, pairs in SYMMETRIES.items() for pair in pairs])
def test_voxels_turned_by_a_symmetry_are_the_same(label, angle, axis, densities):
    again = turned(densities[label], rotation_zyx(angle, axis))
    assert correlation(again, densities[label]) > 0.99
    assert correlation(without_radial_mean(again), without_radial_mean(densities[label])) > 0.97


@pytest.mark.parametrize(("label", "angle", "axis"), [(k, *pair) for k, pairs in BROKEN.items() for pair in pairs])
def test_voxels_turned_otherwise_are_not(label, angle, axis, densities):
    again = turned(densities[label], rotation_zyx(angle, axis))
    assert correlation(without_radial_mean(again), without_radial_mean(densities[label])) < 0.8


@pytest.mark.parametrize("label", PARTICLES)
def test_a_rotation_turns_the_voxels(label, densities):
    rotation = rotation_zyx(50, (1, 2, -1.5))
    drawn = PARTICLES[label].density(SHAPE, VOXEL_SIZE_ANGSTROM, rotation=rotation)
    assert correlation(turned(densities[label], rotation), drawn) > 0.99


def test_a_rotation_acts_on_zyx_vectors():
    """A quarter turn that takes x to y and y to -x: voxels on the +x axis land on the +y axis."""
    ribosome = PARTICLES["ribosome"]
    rotation = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float)
    straight = ribosome.density(SHAPE, VOXEL_SIZE_ANGSTROM)
    quarter = ribosome.density(SHAPE, VOXEL_SIZE_ANGSTROM, rotation=rotation)
    offset = np.arange(-20, 21)
    np.testing.assert_allclose(
        quarter[MIDDLE, MIDDLE + offset, MIDDLE], straight[MIDDLE, MIDDLE, MIDDLE + offset], rtol=1e-4
    )
    assert not np.allclose(quarter, straight, atol=0.05)


@given(
    label=st.sampled_from(sorted(PARTICLES)),
    voxel_size_angstrom=st.floats(10, 40),
    shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    quaternion=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(v * v for v in q) > 0.01),
)
def test_mass_and_centre_of_mass_are_true_on_any_grid(label, voxel_size_angstrom, shift, quaternion):
    model = PARTICLES[label]
    edge = 2 * math.ceil(model.support_radius_angstrom / voxel_size_angstrom) + 4
    center = np.full(3, edge // 2) + shift
    rotation = Rotation.from_quat(quaternion).as_matrix()
    density = model.density((edge, edge, edge), voxel_size_angstrom, rotation=rotation, center_voxel=center).astype(
        float
    )
    assert density.min() >= 0
    assert density.sum() * voxel_size_angstrom**3 == pytest.approx(1000 * model.mass_kda, rel=1e-3)
    center_of_mass = [(np.indices(density.shape)[axis] * density).sum() / density.sum() for axis in range(3)]
    assert center_of_mass == pytest.approx(center, abs=0.01)


def test_masses_are_those_of_the_species():
    masses = {label: model.mass_kda for label, model in PARTICLES.items()}
    assert 3000 <= masses["ribosome"] <= 4300
    assert masses["ribosome"] > masses["virus-like-particle"] > masses["thyroglobulin"] > masses["apo-ferritin"]
    assert masses["apo-ferritin"] == pytest.approx(480, rel=0.05)
    assert masses["beta-galactosidase"] == pytest.approx(465, rel=0.05)
    assert masses["thyroglobulin"] == pytest.approx(660, rel=0.05)
    assert 200 <= masses["beta-amylase"] <= 225


def test_protein_is_as_dense_as_protein(densities):
    """Protein has 0.81 dalton per cubic angstrom, RNA more, a smoothed body somewhat less."""
    for label, density in densities.items():
        assert 0.55 < density.max() < 1.3, label


@pytest.mark.parametrize(
    ("label", "ring_angstrom", "tolerance"), [("apo-ferritin", 50, 6), ("virus-like-particle", 117.5, 4)]
)
def test_shells_are_rings_around_a_hollow(label, ring_angstrom, tolerance, densities):
    for axis in range(3):
        radius, profile = radial_profile(densities[label].take(MIDDLE, axis=axis), VOXEL_SIZE_ANGSTROM)
        assert radius[profile.argmax()] == pytest.approx(ring_angstrom, abs=tolerance)
        assert profile[radius < 0.25 * ring_angstrom].max() < 0.02 * profile.max()


@pytest.mark.parametrize(
    ("label", "longest_angstrom"),
    [
        ("apo-ferritin", 120),
        ("beta-amylase", 130),
        ("beta-galactosidase", 180),
        ("ribosome", 300),
        ("thyroglobulin", 260),
    ],
)
def test_the_longest_way_through_a_particle(label, longest_angstrom, densities):
    inside = np.argwhere(densities[label] > 0.15)
    directions = Rotation.random(400, random_state=0).apply([0, 0, 1])
    along = inside @ directions.T
    longest = (along.max(axis=0) - along.min(axis=0)).max() * VOXEL_SIZE_ANGSTROM
    assert longest == pytest.approx(longest_angstrom, rel=0.12)


def test_solid_and_support_radius_hold_the_particle(densities):
    z, y, x = np.indices(SHAPE) - MIDDLE
    radius = np.sqrt(z**2 + y**2 + x**2) * VOXEL_SIZE_ANGSTROM
    for label, model in PARTICLES.items():
        assert densities[label][radius > model.support_radius_angstrom].sum() < 1e-4 * densities[label].sum()
        assert densities[label][radius > model.solid_radius_angstrom].max() < 0.5 * densities[label].max()
        assert densities[label][radius > 0.8 * model.solid_radius_angstrom].max() > 0.4 * densities[label].max()


def test_an_unknown_particle_names_the_known():
    with pytest.raises(
        SimulationError, match=r"proteasome: no such particle; choose from apo-ferritin, .*virus-like-particle"
    ):
        find_models(["ribosome", "proteasome"])
