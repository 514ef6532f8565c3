"""Accuracies and doubts follow from the probabilities alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from frazil.evaluation.stages.usefulness.right_class import class_doubts, right_class_scores
from frazil.evaluation.volumes import Sets, VolumeSet


@dataclass
class Reader:
    """A classifier whose probabilities are written in the first voxels of a volume."""

    classes: tuple[str, ...] = ("a", "b")
    sharpness: float = 1.0

    def predict(self, volumes: np.ndarray) -> np.ndarray:
        first = volumes[:, 0, 0, : len(self.classes)].astype(np.float64) * self.sharpness
        chances = np.exp(first)
        return (chances / chances.sum(axis=1, keepdims=True)).astype(np.float32)


def volumes_of(chances: list[tuple[float, float]], labels: list[str]) -> VolumeSet:
    volumes = np.zeros((len(labels), 4, 4, 4), np.float32)
    volumes[:, 0, 0, :2] = np.log(chances)
    return VolumeSet(volumes, np.array(labels), tuple(map(str, range(len(labels)))), 10.0)


SURE_A, SURE_B = (0.9, 0.1), (0.2, 0.8)


def test_a_doubt_is_what_is_left_of_the_mean_probability():
    generated = volumes_of([SURE_A, SURE_B, SURE_A], ["a", "b", "b"])
    np.testing.assert_allclose(class_doubts([Reader()], generated), [0.1, 0.2, 0.9], atol=1e-6)
    # a second judge that does not know
    two = class_doubts([Reader(), Reader(sharpness=0)], generated)
    np.testing.assert_allclose(two, [(0.1 + 0.5) / 2, (0.2 + 0.5) / 2, (0.9 + 0.5) / 2], atol=1e-6)


def test_a_class_that_is_not_known_has_no_doubt():
    doubts = class_doubts([Reader()], volumes_of([SURE_A, SURE_A], ["a", "c"]))
    np.testing.assert_array_equal(np.isnan(doubts), [False, True])


@pytest.fixture(scope="module")
def scores():
    # 8 of a, 6 right; 8 of b, all right; 5 of c, which no judge knows
    generated = volumes_of([SURE_A] * 6 + [SURE_B] * 2 + [SURE_B] * 8 + [SURE_A] * 5, ["a"] * 8 + ["b"] * 8 + ["c"] * 5)
    held_out = volumes_of([SURE_A] * 9 + [SURE_B] + [SURE_B] * 5, ["a"] * 10 + ["b"] * 5)
    training = volumes_of([SURE_A] * 20 + [SURE_B] * 20, ["a"] * 20 + ["b"] * 20)
    found = right_class_scores([Reader()], Sets(generated, held_out, training))
    return {(score.name, score.label): score for score in found}


def test_accuracies_are_shares_of_right_answers(scores):
    assert scores["class_accuracy", None].value == pytest.approx(14 / 16)
    assert scores["class_balanced_accuracy", None].value == pytest.approx((6 / 8 + 1) / 2)
    assert scores["class_accuracy", "a"].value == pytest.approx(6 / 8)
    assert scores["class_accuracy", "b"].value == 1
    assert scores["class_accuracy", "a"].count == 8
    assert {score.question for score in scores.values()} == {"right class"}


def test_real_ones_count_in_the_proportions_of_the_generated_ones(scores):
    # held out: 9 of 10 of a, 5 of 5 of b; generated in equal numbers
    assert scores["class_accuracy", None].real == pytest.approx((0.9 + 1) / 2)
    assert scores["class_accuracy", "a"].real == pytest.approx(0.9)


def test_intervals_hold_their_value_and_shrink_to_nothing_where_all_are_right(scores):
    low, high = scores["class_accuracy", "a"].interval
    assert low < 6 / 8 < high <= 1
    # standard error sqrt(p (1 - p) / n) = 0.153, so the 95 % interval is about 0.6 wide
    assert 0.4 < high - low < 0.7
    assert scores["class_accuracy", "b"].interval == (1, 1)


def test_shuffled_labels_are_right_by_chance(scores):
    # 8 of a and 8 of b with permuted labels: half right, standard deviation 0.13
    assert 0.1 < scores["class_accuracy", None].shuffled < 0.9
    assert scores["class_accuracy", None].noise is not None


def test_an_unknown_class_has_no_accuracy_and_a_reason(scores):
    unknown = scores["class_accuracy", "c"]
    assert unknown.value is None
    assert "0 generated" in unknown.note
    assert "5 are needed" in unknown.note
