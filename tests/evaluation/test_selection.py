"""The worst of each class go, by a number that is stated; nothing else does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import RequestError
from frazil.evaluation.selection import deciding_number, keep_best


def test_the_largest_numbers_of_each_class_go():
    labels = np.array(["a", "b", "a", "b", "a", "b"])
    kept = keep_best(np.array([1.0, 10.0, 3.0, 30.0, 2.0, 20.0]), labels, 0.6)
    assert kept.tolist() == [True, True, False, False, True, True]


def test_nine_tenths_of_ten_are_nine():
    assert keep_best(np.arange(10.0), np.array(["a"] * 10), 0.9).sum() == 9


def test_equal_numbers_go_by_their_place():
    assert keep_best(np.ones(4), np.array(["a"] * 4), 0.5).tolist() == [True, True, False, False]


def test_volumes_without_a_number_are_kept():
    assert keep_best(np.array([np.nan, 1.0, 2.0]), np.array(["a"] * 3), 0.5).tolist() == [True, True, False]


@given(st.lists(st.tuples(st.floats(-9, 9), st.sampled_from("abc")), min_size=1, max_size=40), st.floats(0.01, 1))
def test_the_share_holds_in_each_class_and_none_that_goes_is_better(volumes, keep):
    numbers, labels = np.array([number for number, _ in volumes]), np.array([label for _, label in volumes])
    kept = keep_best(numbers, labels, keep)
    for label in set(labels):
        own = labels == label
        assert keep * own.sum() - 1e-6 <= (kept & own).sum() < keep * own.sum() + 1
        if (~kept & own).any():
            assert numbers[kept & own].max() <= numbers[~kept & own].min()


def test_shares_that_cannot_be_are_refused(refuses):
    for keep in (0.0, -1.0, 1.5):
        with refuses(RequestError, f"--keep {keep:g}", "0.9"):
            keep_best(np.ones(2), np.array(["a", "a"]), keep)
    with refuses(RequestError, "no volume has this number", "--by"):
        keep_best(np.full(2, np.nan), np.array(["a", "a"]), 0.9)


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        (["spectrum", "typicality"], "typicality"),
        (["ring", "spectrum"], "spectrum"),
        (["spectrum", "class doubt"], "class doubt"),
    ],
)
def test_the_number_is_chosen_in_a_stated_order(available, chosen):
    assert deciding_number(None, available) == chosen
    assert deciding_number(available[0], available) == available[0]


def test_numbers_that_are_not_there_are_refused(refuses):
    with refuses(RequestError, "--by 'beauty'", "ring, spectrum"):
        deciding_number("beauty", ["ring", "spectrum"])
    with refuses(RequestError, "none of typicality", "--by 'ring'"):
        deciding_number(None, ["ring"])
