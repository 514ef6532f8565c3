"""The challenge's score, against its definition counted by hand and by brute force."""

import itertools

import numpy as np
import pytest

from frazil.proof.score import Counts, best_threshold, match, partners, weighted_score


def test_the_definition():
    counts = Counts(right=6, false=4, missed=2)
    precision, recall = 0.6, 0.75
    assert (counts.precision, counts.recall) == (precision, recall)
    assert counts.f_score(4) == pytest.approx(17 * precision * recall / (16 * precision + recall), abs=1e-12)
    assert counts.f_score(1) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)
    assert Counts(missed=3).f_score() == Counts(false=3).f_score() == 0
    assert Counts(1, 2, 3) + Counts(4, 5, 6) == Counts(5, 7, 9)


def test_a_pick_matches_within_half_of_the_radius():
    reference = np.array([[0.0, 0, 0], [100, 0, 0]])
    assert match(np.array([[0.0, 0, 29.9]]), reference, 60) == Counts(1, 0, 1)
    assert match(np.array([[0.0, 0, 30.1]]), reference, 60) == Counts(0, 1, 2)
    assert match(np.array([[0.0, 0, 1], [0, 0, 2]]), reference, 60) == Counts(1, 1, 1)
    assert match(np.empty((0, 3)), reference, 60) == Counts(0, 0, 2)
    assert match(reference, np.empty((0, 3)), 60) == Counts(0, 2, 0)
    assert match(reference, reference, 60) == Counts(2, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_as_many_as_possible_have_a_partner(seed):
    random = np.random.default_rng(seed)
    found, reference = random.uniform(0, 30, (5, 3)), random.uniform(0, 30, (4, 3))
    partner = partners(found, reference, 30)
    for pick, mate in enumerate(partner):
        assert mate < 0 or np.linalg.norm(found[pick] - reference[mate]) <= 15
    mated = partner[partner >= 0]
    assert len(set(mated.tolist())) == len(mated)
    near = np.linalg.norm(found[:, None] - reference, axis=-1) <= 15
    most = max(
        sum(near[pick, mate] for mate, pick in enumerate(picks)) for picks in itertools.permutations(range(5), 4)
    )
    assert len(mated) == most


def test_classes_are_weighted_and_those_of_weight_zero_do_not_count():
    counts = {"a": Counts(1, 0, 0), "b": Counts(0, 1, 1), "c": Counts(0, 9, 9)}
    assert weighted_score(counts, {"a": 1.0, "b": 2.0, "c": 0.0}) == pytest.approx(1 / 3)


def test_the_threshold_is_the_best_of_all():
    random = np.random.default_rng(3)
    scores = [(float(score), bool(random.uniform() < score)) for score in random.uniform(0, 1, 60).round(1)]
    right = sum(is_right for _, is_right in scores)
    references = right + 5

    def f_score(threshold):
        kept = [is_right for score, is_right in scores if score >= threshold]
        return Counts(sum(kept), len(kept) - sum(kept), references - sum(kept)).f_score(1)

    chosen = best_threshold(scores, references, beta=1)
    assert f_score(chosen) == max(f_score(score) for score, _ in scores)


def test_with_slack_the_threshold_is_lower_and_f_nearly_as_high():
    scores = [(0.9, True), (0.8, True), (0.6, False), (0.5, True), (0.3, False)]  # F1, of 3: 0.5, 0.8, 0.67, 0.86, 0.75
    assert best_threshold(scores, 3, beta=1) == pytest.approx(0.4)
    assert best_threshold(scores, 3, beta=1, slack=0.1) == pytest.approx(0.4)
    assert best_threshold(scores, 3, beta=1, slack=0.13) == pytest.approx(0.3)
    assert best_threshold([(0.9, False)], 3, slack=0.1) == float("inf")
