import numpy as np
import pytest

from frazil.core.errors import ShapeError
from frazil.evaluation.metrics.frechet import frechet_distance, frechet_interval, gaussian_distance


def exactly(mean, covariance, count, seed=0):
    """Return samples whose own mean and unbiased covariance are exactly these."""
    values = np.random.default_rng(seed).standard_normal((count, len(mean)))
    values -= values.mean(axis=0)
    white = values @ np.linalg.inv(np.linalg.cholesky(np.cov(values, rowvar=False))).T
    return white @ np.linalg.cholesky(np.asarray(covariance, float)).T + mean


def test_axis_aligned_gaussians_have_the_closed_form_distance():
    mean, other_mean = np.array([1.0, 0, -2, 4]), np.array([0.0, 3, 1, 4])
    spread, other_spread = np.array([1.0, 2, 0.5, 3]), np.array([2.0, 2, 1.5, 0.1])
    one = exactly(mean, np.diag(spread**2), 50)
    other = exactly(other_mean, np.diag(other_spread**2), 80, seed=1)
    expected = np.square(mean - other_mean).sum() + np.square(spread - other_spread).sum()
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-10)


def test_turned_gaussians_have_the_closed_form_distance_of_two_dimensions():
    one, other = np.array([[4.0, 1.5], [1.5, 1.0]]), np.array([[2.0, -1.0], [-1.0, 3.0]])
    assert not np.allclose(one @ other, other @ one)
    # the roots of a 2 x 2 matrix sum up to sqrt(trace + 2 sqrt(determinant))
    shared = np.sqrt(np.trace(one @ other) + 2 * np.sqrt(np.linalg.det(one @ other)))
    expected = 5 + np.trace(one) + np.trace(other) - 2 * shared
    found = frechet_distance(exactly([0, 0], one, 30), exactly([1, 2], other, 30, seed=3))
    assert found == pytest.approx(expected, rel=1e-10)


def test_samples_of_gaussians_come_near_the_distance_of_the_gaussians():
    random = np.random.default_rng(0)
    one = random.standard_normal((20_000, 3)) * [1, 2, 3]
    other = random.standard_normal((20_000, 3)) * [2, 2, 1] + [1, 0, 0]
    assert frechet_distance(one, other) == pytest.approx(1 + 1 + 4, rel=0.03)


def test_equal_sets_have_distance_zero_also_where_the_covariance_is_singular():
    values = np.random.default_rng(0).standard_normal((10, 40)) * 100
    assert frechet_distance(values, values[::-1]) == pytest.approx(0, abs=1e-5)  # of a trace of 400,000
    assert frechet_distance(values[:, :3], values[:, :3]) == pytest.approx(0, abs=1e-8)


def test_the_order_of_the_sets_does_not_matter():
    random = np.random.default_rng(1)
    one, other = random.standard_normal((40, 5)), random.standard_normal((30, 5)) * 2
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-12)


def test_a_gaussian_against_a_point_is_its_trace_and_offset():
    covariance = np.array([[2.0, 0.3], [0.3, 1.0]])
    found = gaussian_distance(np.array([3.0, 4.0]), covariance, np.zeros(2), np.zeros((2, 2)))
    assert found == pytest.approx(25 + 3)


def test_the_interval_holds_the_true_distance_about_as_often_as_it_says():
    # far apart, so that the bias of few samples is small against the spread: |offset|^2 = 16
    hits = 0
    for trial in range(30):
        random = np.random.default_rng(trial)
        one, other = random.standard_normal((60, 2)), random.standard_normal((60, 2)) + np.array([4, 0])
        low, high = frechet_interval(one, other, np.random.default_rng(1000 + trial), resamples=60)
        assert low < frechet_distance(one, other) < high
        hits += low < 16 < high
    assert 25 <= hits <= 30


def test_the_interval_comes_from_its_generator_alone():
    random = np.random.default_rng(0)
    one, other = random.standard_normal((20, 3)), random.standard_normal((20, 3))
    first, second, third = (
        frechet_interval(one, other, np.random.default_rng(seed), resamples=20) for seed in (5, 5, 6)
    )
    assert first == second != third
    assert first[0] >= 0


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"\(5, 3\) and \(5, 2\); give two or more samples each, of one dimension"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 2)))
    with pytest.raises(ShapeError, match=r"\(1, 3\)"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
