import numpy as np
import pytest
from scipy import stats

from frazil.evaluation.metrics.intensities import BINS, LOWEST, WIDTH, density, grey_histogram, wasserstein


def gaussian(mean=0.0, deviation=1.0, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, deviation, (48, 48, 48)).astype(np.float32)


def test_the_wasserstein_distance_of_shifted_gaussians_is_the_shift():
    found = wasserstein(grey_histogram(gaussian()), grey_histogram(gaussian(mean=0.7, seed=1)))
    assert found == pytest.approx(0.7, abs=0.02)


def test_the_wasserstein_distance_of_scaled_gaussians_is_in_closed_form():
    # W1 of N(0, a^2) and N(0, b^2) is |a - b| sqrt(2 / pi)
    found = wasserstein(grey_histogram(gaussian()), grey_histogram(gaussian(deviation=1.5, seed=1)))
    assert found == pytest.approx(0.5 * np.sqrt(2 / np.pi), abs=0.02)


def test_the_wasserstein_distance_is_that_of_scipy_and_zero_to_itself():
    one, other = gaussian(), -np.random.default_rng(1).exponential(size=(48, 48, 48)) + 1
    expected = stats.wasserstein_distance(one.ravel(), other.ravel())
    assert wasserstein(grey_histogram(one), grey_histogram(other)) == pytest.approx(expected, abs=0.005)
    assert wasserstein(grey_histogram(one), grey_histogram(one)) == 0


def test_rows_are_compared_with_one_reference():
    rows = np.stack([grey_histogram(gaussian(mean=mean)) for mean in (0, 1, 2)])
    np.testing.assert_allclose(wasserstein(rows, rows[0]), [0, 1, 2], atol=0.02)


def test_a_histogram_is_a_share_and_keeps_what_lies_beyond_its_ends():
    volume = np.full((4, 4, 4), -100.0)
    volume[:2] = 100
    histogram = grey_histogram(volume)
    assert histogram.sum() == pytest.approx(1)
    assert histogram[0] == histogram[-1] == 0.5
    assert (LOWEST, LOWEST + BINS * WIDTH) == (-20, 20)


def test_the_density_of_a_gaussian_is_that_of_the_textbook():
    at, share = density(grey_histogram(gaussian()))
    middle = np.abs(at) < 2
    np.testing.assert_allclose(share[middle], stats.norm.pdf(at[middle]), atol=0.015)
    assert (share * (at[1] - at[0])).sum() == pytest.approx(1, abs=1e-5)
