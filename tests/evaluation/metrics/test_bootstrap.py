import numpy as np
import pytest

from frazil.evaluation.metrics.bootstrap import Draws, band


def itself(means) -> np.ndarray:
    return means


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).normal(3, 2, 400)
    draws = Draws.of(np.array(["a"] * 400), {"a": 1.0}, seed=0, purpose="test")
    found = draws.estimate(values, itself)
    assert found.value == pytest.approx(values.mean())
    error = values.std() / np.sqrt(400)
    assert found.interval == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.2 * error
    )


def test_classes_count_with_their_shares_whatever_their_numbers():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    values = np.where(labels == "a", 0.0, 1.0)
    draws = Draws.of(labels, {"a": 0.5, "b": 0.5}, seed=0, purpose="test")
    # drawn within the classes: the proportions are the same in every draw
    assert draws.estimate(values, itself).interval == pytest.approx((0.5, 0.5))
    np.testing.assert_allclose(draws.weights.sum(axis=1), 1)


def test_a_class_that_the_set_has_not_is_left_out():
    draws = Draws.of(np.array(["a", "a"]), {"a": 0.25, "b": 0.75}, seed=0, purpose="test")
    assert draws.estimate(np.array([2.0, 2.0]), itself).value == pytest.approx(2)
    other = Draws.of(np.array(["a", "c"]), {"a": 1.0}, seed=0, purpose="test")
    assert other.estimate(np.array([2.0, 100.0]), itself).value == pytest.approx(2)


def test_the_interval_of_a_distance_holds_a_distance_of_zero():
    values = np.random.default_rng(0).standard_normal((50, 8))
    draws = Draws.of(np.array(["a"] * 50), {"a": 1.0}, seed=0, purpose="test")
    reference = draws.means(values)[0]
    found = draws.estimate(values, lambda means: np.abs(means - reference).mean(axis=1))
    assert found.value == 0
    assert found.interval[0] == 0
    assert found.interval[1] > 0.05


def test_what_is_not_defined_has_no_value_and_what_is_seldom_defined_no_interval():
    draws = Draws.of(np.array(["a"] * 20), {"a": 1.0}, seed=0, purpose="test")
    values = np.arange(20.0)
    nothing = draws.estimate(values, lambda means: np.full(len(means), np.nan))
    assert (nothing.value, nothing.interval) == (None, None)
    seldom = draws.estimate(values, lambda means: np.where(np.arange(len(means)) < 10, means, np.nan))
    assert seldom.value == pytest.approx(9.5)
    assert seldom.interval is None


def test_draws_are_the_same_for_the_same_seed_and_purpose_only():
    labels = np.array(["a"] * 20)
    one, same, other, purpose = (
        Draws.of(labels, {"a": 1.0}, seed=seed, purpose=name).weights
        for seed, name in ((0, "x"), (0, "x"), (1, "x"), (0, "y"))
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert (one != purpose).any()


def test_a_bin_without_a_value_leaves_the_others_alone():
    values = np.ones((10, 3))
    values[:, 1] = np.nan
    draws = Draws.of(np.array(["a"] * 10), {"a": 1.0}, seed=0, purpose="test")
    low, high = band(draws.means(values))
    assert np.isnan([low[1], high[1]]).all()
    np.testing.assert_allclose([low[0], high[2]], 1)
