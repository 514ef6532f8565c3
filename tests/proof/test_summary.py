"""Scores and intervals from picks, against counts by hand."""

import numpy as np
import pandas as pd
import pytest

from frazil.core.settings import SourceSettings
from frazil.proof import summary
from frazil.proof.arms import Arm, all_arms, chosen_arms
from frazil.proof.records import Proof, ProofRequest
from frazil.proof.report import answer

RUNS = ("A", "B")
REFERENCES = {"ball": [np.array([[0.0, 0, 0], [0, 0, 100]]), np.array([[0.0, 50, 0]])]}


def trial(*picks, threshold=0.5):
    table = pd.DataFrame(picks, columns=["run", "label", "z", "y", "x", "score"])
    return summary.tested(table, {"ball": threshold}, REFERENCES, RUNS, {"ball": 40.0})


PERFECT = trial(
    ("A", "ball", 0, 0, 0, 0.9),
    ("A", "ball", 0, 0, 101, 0.8),
    ("B", "ball", 0, 50, 0, 0.7),
    ("B", "ball", 9, 9, 9, 0.4),
)
HALF = trial(("A", "ball", 0, 0, 0, 0.9), ("A", "ball", 30, 30, 30, 0.8), ("B", "ball", 0, 50, 0, 0.3))


def test_scores_are_those_of_the_counts():
    arms = [Arm(name="cheap", shares={"annotated": 1}), Arm(name="made", shares={"made": 1})]
    (cheap, made), best = summary.summarize(arms, {"cheap": [HALF, HALF], "made": [PERFECT, HALF]}, {"ball": 2.0})
    half = 17 * 1 / (17 * 1 + 16 * 2 + 1)
    assert best == "cheap"
    assert cheap.gain is None
    assert cheap.f_beta.mean == pytest.approx(half)
    assert made.f_beta.mean == pytest.approx((1 + half) / 2)
    assert made.by_seed == pytest.approx((1, half))
    assert made.gain.mean == pytest.approx((1 - half) / 2)
    assert made.gain.low == pytest.approx(0)
    assert made.gain.high <= 1
    own = cheap.classes["ball"]
    assert (own.particles, own.precision, own.recall) == (3, 0.5, pytest.approx(1 / 3))
    assert own.ceiling == pytest.approx(17 * 2 / (17 * 2 + 16 + 1))  # all three picks kept
    assert own.recall_at_picks == pytest.approx(2 / 3)
    assert own.curve[0] == 1
    assert own.curve[66] == pytest.approx(2 / 3)
    assert own.curve[67] is None


def test_two_arms_that_are_equal_gain_nothing():
    arms = [Arm(name="a", shares={"annotated": 1}), Arm(name="b", shares={"x": 1})]
    (_, other), _ = summary.summarize(arms, {"a": [HALF, PERFECT], "b": [HALF, PERFECT]}, {"ball": 1.0})
    assert (other.gain.low, other.gain.mean, other.gain.high) == (0, 0, 0)


def test_arms_share_out_the_windows():
    every = all_arms(["x"], [1, 4])
    assert [arm.name for arm in every] == [
        "annotated",
        "augmented",
        "copy-paste",
        "x 1:1",
        "x 4:1",
        "x and copy-paste",
        "x alone",
    ]
    assert every[4].shares == {"annotated": 0.2, "x": 0.8}
    assert not every[4].cheap
    assert every[2].cheap
    assert [arm.name for arm in chosen_arms(every, ["x alone", "annotated"])] == ["annotated", "x alone"]


@pytest.mark.parametrize(("seeds", "only"), [(2, True), (5, False)])
def test_few_pickers_are_only_an_indication(seeds, only):
    arms = [Arm(name="cheap", shares={"annotated": 1}), Arm(name="made 1:1", shares={"made": 1})]
    results, best = summary.summarize(arms, {"cheap": [HALF] * seeds, "made 1:1": [PERFECT] * seeds}, {"ball": 1.0})
    request = ProofRequest(
        project="p",
        source=SourceSettings(),
        train=("T",),
        test=RUNS,
        pick=(),
        projects={},
        steps=1,
        weights={"ball": 1.0},
    )
    proof = Proof(
        request=request, voxel_size_angstrom=10.0, beta=4.0, seeds=seeds, simulated=True, leaks_checked=(), best_cheap=best, arms=results
    )  # fmt: skip
    assert answer(proof).startswith("Pickers gain. made 1:1 over cheap: +0.660")
    assert ("only an indication" in answer(proof)) == only
