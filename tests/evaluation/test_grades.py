"""A score reaches real volumes, is near them, or falls short, by the stated limits."""

import pytest

from frazil.evaluation.scores import Score
from frazil.evaluation.verdicts import grade


def graded(value, real=1.0, *, name="spectrum_xy_dex", better="lower", **fields):
    return grade(Score(name=name, title=name, question="realistic", value=value, real=real, better=better, **fields))


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        # a distance: up to 2 times the real one, or 5 times
        ({"value": 0.5}, "reaches"),
        ({"value": 2.0}, "reaches"),
        ({"value": 2.1}, "near"),
        ({"value": 5.0}, "near"),
        ({"value": 5.1}, "short"),
        # or a tenth of the way to noise
        ({"value": 10.9, "noise": 101.0}, "near"),
        ({"value": 11.1, "noise": 101.0}, "short"),
        # an unbiased distance may have a floor below zero
        ({"name": "kid_learned", "value": -0.02, "real": -0.01}, "reaches"),
        ({"name": "kid_learned", "value": 0.01, "real": -0.01, "noise": 1.0}, "near"),
        ({"name": "kid_learned", "value": 0.3, "real": -0.01, "noise": 1.0}, "short"),
        # of squared distances, the roots count
        ({"name": "frechet_handcrafted", "value": 203.4, "real": 3.1, "noise": 2653.4}, "short"),  # docs/lab/results.md
        ({"name": "frechet_handcrafted", "value": 38.1, "real": 3.1, "noise": 2653.4}, "near"),
        ({"name": "kid_random", "value": 0.0099, "real": 0.0, "noise": 1.0}, "near"),
        ({"name": "kid_random", "value": 0.0101, "real": 0.0, "noise": 1.0}, "short"),
        # wide intervals lift a near distance, and no other
        ({"value": 4.0, "interval": (1.5, 6.0), "real_interval": (0.5, 2.0)}, "reaches"),
        ({"value": 50.0, "interval": (0.5, 100.0), "real_interval": (0.5, 2.0)}, "short"),
        # a share: of the way from real to what a failure reaches
        ({"value": 1.2, "better": "higher"}, "reaches"),
        ({"value": 0.86, "better": "higher"}, "reaches"),
        ({"value": 0.84, "better": "higher"}, "near"),
        ({"value": 0.61, "better": "higher"}, "near"),
        ({"value": 0.59, "better": "higher"}, "short"),
        ({"value": 0.92, "better": "higher", "noise": 0.1, "shuffled": 0.5}, "near"),  # 0.08 of 0.5 lost: 16 %
        ({"value": 0.93, "better": "higher", "noise": 0.1, "shuffled": 0.5}, "reaches"),
        ({"value": 0.7, "better": "higher", "noise": 0.1, "shuffled": 0.5}, "short"),
        ({"value": 0.3, "real": 0.7, "better": "higher", "interval": (0.0, 0.6), "real_interval": (0.4, 1)}, "short"),
        ({"value": 0.5, "real": 0.7, "better": "higher", "interval": (0.0, 0.6), "real_interval": (0.4, 1)}, "reaches"),
        # as real: on both sides
        ({"value": 1.1, "better": "as real"}, "reaches"),
        ({"value": 1.3, "better": "as real"}, "near"),
        ({"value": 0.7, "better": "as real"}, "near"),
        ({"value": 1.5, "better": "as real"}, "short"),
        ({"value": -1.0, "better": "as real"}, "short"),
        # and an interval that overlaps the real one lifts by one grade
        ({"value": -0.1, "real": 0.2, "better": "as real", "interval": (-0.6, 0.5)}, "near"),
        ({"value": 0.14, "real": 0.2, "better": "as real", "interval": (-0.6, 0.5)}, "reaches"),
        # what was not measured
        ({"value": None}, None),
        ({"value": 1.0, "real": None}, None),
    ],
)
def test_a_score_is_graded_by_its_baselines(score, expected):
    assert graded(**score) == expected
