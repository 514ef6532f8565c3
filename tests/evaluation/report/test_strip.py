"""Where a score lies between failure and real volumes."""

from __future__ import annotations

import pytest

from frazil.evaluation.report.strip import NOISE_X, REAL_X, WIDTH, strip


def marks(own) -> dict:
    return {mark.kind: mark for mark in own.marks}


def test_noise_and_real_stand_at_their_places_and_half_way_is_half_way(score):
    own = strip(score(3.0, 1.0, noise=5.0))
    assert own.failure == "noise"
    assert not own.logarithmic
    assert [marks(own)[kind].x for kind in ("noise", "generated", "real")] == [NOISE_X, (NOISE_X + REAL_X) / 2, REAL_X]


def test_distances_over_decades_are_logarithmic(score):
    own = strip(score(1.0, 0.1, noise=10.0))
    assert own.logarithmic
    assert marks(own)["generated"].x == pytest.approx((NOISE_X + REAL_X) / 2)


def test_unbiased_distance_of_real_volumes_may_be_negative(score):
    """Else a distance of 0.01 would lie at real although real ones reach 0.0004 by chance."""
    own = strip(score(0.01, -0.0004, real_interval=(-0.001, 0.0004), noise=0.8))
    assert own.logarithmic
    assert marks(own)["real"].x == REAL_X
    assert NOISE_X + 20 < marks(own)["generated"].x < REAL_X - 20


def test_negative_distance_within_the_interval_of_real_volumes_is_drawn_there(score):
    own = strip(score(-0.074, -0.099, interval=(-0.27, 0.24), real_interval=(-0.31, 0.25), noise=5.57))
    assert own.logarithmic
    generated, real = marks(own)["generated"], marks(own)["real"]
    assert not generated.beyond
    assert real.band[0] < generated.band[0] < generated.x < REAL_X < generated.band[1] < real.band[1]


@pytest.mark.parametrize("value", [0.1, 0.25, 0.26])
def test_distance_near_zero_of_real_volumes_keeps_its_order(score, value):
    places = [
        marks(strip(score(shifted, 0.25, real_interval=(0.0, 0.5), noise=50.0)))["generated"].x
        for shifted in (value - 0.2, value, value + 0.2)
    ]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == 3


def test_beyond_the_strip_stays_on_it(score):
    for value, side in ((50.0, -1), (-40.0, 1)):
        mark = marks(strip(score(value, 1.0, noise=5.0, interval=(value, value))))["generated"]
        assert mark.beyond == side
        assert 0 < mark.x < WIDTH
        assert mark.band is None


def test_shuffled_stands_in_where_there_is_no_noise(score):
    own = strip(score(0.8, 0.9, shuffled=0.2, better="higher"))
    assert own.failure == "shuffled"
    assert marks(own)["shuffled"].x == NOISE_X


def test_interval_is_drawn_around_its_value(score):
    band = marks(strip(score(3.0, 1.0, noise=5.0, interval=(2.0, 4.0))))["generated"].band
    assert band == pytest.approx((NOISE_X + (REAL_X - NOISE_X) / 4, NOISE_X + 3 * (REAL_X - NOISE_X) / 4), abs=0.1)


def test_strip_says_in_words_what_it_shows(score):
    assert strip(score(3.0, 1.0, noise=5.0, unit="dex")).alt == (
        "generated 3.00\u202fdex, real 1.00\u202fdex, noise 5.00\u202fdex"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"value": None, "noise": 5.0},
        {"real": None, "noise": 5.0},
        {"value": 0.708, "real": 0.694},  # no failure: each would be at one end
        {"value": 0.1, "real": 1.0, "noise": 1.4, "better": "higher"},  # noise scores better than real
        {"value": 0.1, "real": 0.5, "noise": 1.0, "shuffled": 0.2, "better": "higher"},
        {
            "value": -0.1,
            "real": 0.2,
            "real_interval": (-0.1, 0.6),
            "noise": 0.1,
            "better": "as real",
        },  # noise is as real
    ],
)
def test_without_a_failure_there_is_no_strip(score, fields):
    assert strip(score(**fields)) is None
