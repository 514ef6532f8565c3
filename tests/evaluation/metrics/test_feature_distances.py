import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from frazil.evaluation.metrics.feature_distances import (
    frechet_distance,
    frechet_interval,
    kernel_distance,
    kernel_interval,
)


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


def test_equal_sets_have_distance_zero_also_where_the_covariance_is_singular():
    values = np.random.default_rng(0).standard_normal((10, 40)) * 100
    assert frechet_distance(values, values[::-1]) == pytest.approx(0, abs=1e-5)  # of a trace of 400,000
    assert frechet_distance(values[:, :3], values[:, :3]) == pytest.approx(0, abs=1e-8)


def test_the_frechet_interval_holds_the_true_distance_about_as_often_as_it_says():
    # far apart, so that the bias of few samples is small against the spread: |offset|^2 = 16
    hits = 0
    for trial in range(30):
        random = np.random.default_rng(trial)
        one, other = random.standard_normal((60, 2)), random.standard_normal((60, 2)) + np.array([4, 0])
        low, high = frechet_interval(one, other, np.random.default_rng(1000 + trial), replicates=60)
        assert low < frechet_distance(one, other) < high
        hits += low < 16 < high
    assert 25 <= hits <= 30


def test_the_frechet_interval_comes_from_its_generator_alone():
    random = np.random.default_rng(0)
    one, other = random.standard_normal((20, 3)), random.standard_normal((20, 3))
    first, second, third = (
        frechet_interval(one, other, np.random.default_rng(seed), replicates=20) for seed in (5, 5, 6)
    )
    assert first == second != third
    assert first[0] >= 0


def test_the_kernel_distance_is_the_sum_over_pairs_of_its_definition():
    random = np.random.default_rng(0)
    one, other = random.standard_normal((4, 3)), random.standard_normal((6, 3)) + 1

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    def within(values):
        return np.mean([kernel(x, y) for i, x in enumerate(values) for j, y in enumerate(values) if i != j])

    between = np.mean([kernel(x, y) for x in one for y in other])
    assert kernel_distance(one, other) == pytest.approx(within(one) + within(other) - 2 * between, rel=1e-12)


def test_the_kernel_distance_agrees_with_torchmetrics():
    random = np.random.default_rng(1)
    one, other = random.standard_normal((50, 20)), random.standard_normal((50, 20)) * 1.3
    expected = poly_mmd(torch.from_numpy(one), torch.from_numpy(other)).item()
    assert kernel_distance(one, other) == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_is_unbiased_on_random_splits_of_one_set():
    random = np.random.default_rng(2)
    features = random.standard_normal((40, 6)) ** 3  # skewed tails, nothing Gaussian
    splits = [random.permutation(features) for _ in range(600)]
    found = np.array([kernel_distance(split[:20], split[20:]) for split in splits])
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 3 * error
    # an estimate that pairs samples with themselves would be found out
    diagonal = np.mean([(x @ x / 6 + 1) ** 3 for x in features])
    pairs = (features @ features.T / 6 + 1) ** 3
    other_pairs = (pairs.sum() - np.trace(pairs)) / (40 * 39)
    assert 2 * (diagonal - other_pairs) / 20 > 20 * error


def test_the_kernel_interval_holds_zero_for_one_distribution_and_not_for_two():
    holds, apart = 0, 0
    for trial in range(30):
        random = np.random.default_rng(trial)
        one, other = random.standard_normal((40, 4)), random.standard_normal((40, 4))
        low, high = kernel_interval(one, other, random, replicates=300)
        holds += low < 0 < high
        low, high = kernel_interval(one, other + 1, random, replicates=300)
        apart += low > 0
    assert holds >= 25
    assert apart == 30


def test_drawing_a_sample_twice_adds_no_bias():
    random = np.random.default_rng(5)
    one, other = random.standard_normal((30, 4)), random.standard_normal((30, 4))
    low, high = kernel_interval(one, other, random, replicates=2000)
    assert (low + high) / 2 == pytest.approx(kernel_distance(one, other), abs=0.3 * (high - low))


def test_draws_of_one_sample_alone_do_not_count():
    one = np.array([[0.0], [1.0]])  # every second draw
    low, high = kernel_interval(one, one + 5, np.random.default_rng(0), replicates=100)
    assert 0 < low <= high < np.inf
