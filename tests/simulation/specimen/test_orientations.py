import numpy as np
import pytest
from scipy.stats import chi2, kstest

from frazil.core.seeds import numpy_generator
from frazil.simulation.specimen.orientations import fisher_direction, preferred_rotation, random_rotation

COUNT = 2000
TILTED = np.array([3.0, -1.0, 2.0]) / 14**0.5


def draw(function, *arguments, count: int = COUNT) -> np.ndarray:
    generator = numpy_generator(1, function.__name__)
    return np.array([function(*arguments, generator) for _ in range(count)])


@pytest.mark.parametrize("rotations", [draw(random_rotation), draw(preferred_rotation, TILTED, 8.0)])
def test_they_are_proper_rotations(rotations):
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3)[None].repeat(COUNT, 0), atol=1e-12)
    assert np.linalg.det(rotations) == pytest.approx(1.0)


@pytest.mark.parametrize("rotations", [draw(random_rotation), draw(preferred_rotation, TILTED, 0.0)])
def test_uniform_rotations_have_no_direction(rotations):
    """Haar measure: an axis lands evenly on the sphere (chi-square on 8 x 8 cells of equal area), the angle of rotation
    has the density ``(1 - cos) / pi``."""
    for axis in range(3):
        z, y, x = rotations[:, :, axis].T
        cells, _, _ = np.histogram2d(z, np.arctan2(y, x), bins=8, range=[(-1, 1), (-np.pi, np.pi)])
        assert ((cells - COUNT / 64) ** 2 / (COUNT / 64)).sum() < chi2(63).ppf(0.9999)
    angle = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-4


@pytest.mark.parametrize("concentration", [0.5, 8.0, 2000.0])
def test_the_spread_about_an_axis_is_that_of_von_mises_and_fisher(concentration):
    cosine = draw(fisher_direction, TILTED, concentration) @ TILTED
    expected = 1 / np.tanh(concentration) - 1 / concentration
    assert cosine.mean() == pytest.approx(expected, abs=4 * cosine.std() / COUNT**0.5)
    # Whole distribution: (exp(kappa (c - 1)) - exp(-2 kappa)) / (1 - exp(-2 kappa)).
    floor = np.exp(-2 * concentration)
    assert kstest(cosine, lambda c: (np.exp(concentration * (c - 1)) - floor) / (1 - floor)).pvalue > 1e-4


def test_a_preferred_orientation_keeps_the_axis_either_way_up_and_spins_freely():
    rotations = draw(preferred_rotation, TILTED, 50.0)
    along = rotations[:, :, 0] @ TILTED
    assert np.abs(along).min() > 0.75
    assert abs(np.count_nonzero(along > 0) - COUNT / 2) < 4 * (COUNT / 4) ** 0.5
    # The object's x axis, seen along the preferred one, points everywhere.
    first = np.cross(TILTED, [0.0, 1.0, 0.0])
    second = np.cross(TILTED, first)
    spin = np.arctan2(rotations[:, :, 2] @ second, rotations[:, :, 2] @ first)
    counts, _ = np.histogram(spin, bins=16, range=(-np.pi, np.pi))
    assert ((counts - COUNT / 16) ** 2 / (COUNT / 16)).sum() < chi2(15).ppf(0.9999)
