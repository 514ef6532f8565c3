import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from frazil.core.errors import ShapeError
from frazil.evaluation.metrics.kid import kernel_distance, kernel_interval


def test_it_is_the_sum_over_pairs_of_its_definition():
    random = np.random.default_rng(0)
    one, other = random.standard_normal((4, 3)), random.standard_normal((6, 3)) + 1

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    def within(values):
        return np.mean([kernel(x, y) for i, x in enumerate(values) for j, y in enumerate(values) if i != j])

    between = np.mean([kernel(x, y) for x in one for y in other])
    assert kernel_distance(one, other) == pytest.approx(within(one) + within(other) - 2 * between, rel=1e-12)


def test_it_agrees_with_torchmetrics():
    random = np.random.default_rng(1)
    one, other = random.standard_normal((50, 20)), random.standard_normal((50, 20)) * 1.3
    expected = poly_mmd(torch.from_numpy(one), torch.from_numpy(other)).item()
    assert kernel_distance(one, other) == pytest.approx(expected, rel=1e-9)


def test_it_is_unbiased_on_random_splits_of_one_set():
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


def test_a_shift_is_seen_and_grows():
    random = np.random.default_rng(3)
    one, other = random.standard_normal((60, 5)), random.standard_normal((60, 5))
    distances = [kernel_distance(one, other + shift) for shift in (0, 0.5, 1, 2)]
    assert distances == sorted(distances)
    # the mean shift alone, through the linear term of the kernel: 3 |shift|^2 / d
    assert distances[1] > 3 * 0.5**2


def test_the_interval_holds_zero_for_one_distribution_and_not_for_two():
    holds, apart = 0, 0
    for trial in range(30):
        random = np.random.default_rng(trial)
        one, other = random.standard_normal((40, 4)), random.standard_normal((40, 4))
        low, high = kernel_interval(one, other, random, resamples=300)
        holds += low < 0 < high
        low, high = kernel_interval(one, other + 1, random, resamples=300)
        apart += low > 0
    assert holds >= 25
    assert apart == 30


def test_drawing_a_sample_twice_adds_no_bias():
    random = np.random.default_rng(5)
    one, other = random.standard_normal((30, 4)), random.standard_normal((30, 4))
    low, high = kernel_interval(one, other, random, resamples=2000)
    assert (low + high) / 2 == pytest.approx(kernel_distance(one, other), abs=0.3 * (high - low))


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"\(5, 3\) and \(5, 2\); give two or more samples each, of one dimension"):
        kernel_distance(np.zeros((5, 3)), np.zeros((5, 2)))
    with pytest.raises(ShapeError, match=r"\(1, 3\)"):
        kernel_interval(np.zeros((5, 3)), np.zeros((1, 3)), np.random.default_rng(0))


def test_draws_of_one_sample_alone_do_not_count():
    one = np.array([[0.0], [1.0]])  # every second draw
    low, high = kernel_interval(one, one + 5, np.random.default_rng(0), resamples=100)
    assert 0 < low <= high < np.inf
