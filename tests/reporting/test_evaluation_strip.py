"""Where a score lies between failure and real volumes."""

from __future__ import annotations

import pytest

from frazil.reporting.evaluation_strip import NOISE_X, REAL_X, WIDTH, strip


def marks(own) -> dict:
    return {mark.kind: mark for mark in own.marks}


def test_noise_and_real_stand_at_their_places_and_half_way_is_half_way(score):
    own = strip(score(3.0, 1.0, noise=5.0))
    assert own.anchored
    assert not own.logarithmic
    assert [marks(own)[kind].x for kind in ("noise", "generated", "real")] == [NOISE_X, (NOISE_X + REAL_X) / 2, REAL_X]


def test_higher_is_better_runs_the_same_way(score):
    own = strip(score(0.25, 0.75, noise=0.25, better="higher"))
    assert marks(own)["generated"].x == NOISE_X
    assert marks(own)["real"].x == REAL_X


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


def test_noise_that_scores_better_than_real_is_no_failure(score):
    """White noise is far from every training box; a copy must not look like the best of all."""
    copy = strip(score(0.1, 1.0, noise=1.4, better="higher"))
    assert not copy.anchored
    places = marks(copy)
    assert places["generated"].x < places["real"].x < places["noise"].x


def test_noise_that_cannot_be_told_from_real_is_no_failure(score):
    own = strip(score(-0.1, 0.2, real_interval=(-0.1, 0.6), noise=0.1, better="as real"))
    assert not own.anchored


def test_small_difference_from_real_looks_small_where_nothing_failed(score):
    own = strip(score(4.49, 4.59, interval=(4.45, 4.52), better="as real"))
    assert abs(marks(own)["generated"].x - marks(own)["real"].x) < WIDTH / 10


def test_beyond_the_strip_stays_on_it(score):
    for value, side in ((50.0, -1), (-40.0, 1)):
        mark = marks(strip(score(value, 1.0, noise=5.0, interval=(value, value))))["generated"]
        assert mark.beyond == side
        assert 0 < mark.x < WIDTH
        assert mark.band is None


def test_shuffled_stands_in_where_there_is_no_noise(score):
    own = strip(score(0.8, 0.9, shuffled=0.2, better="higher"))
    assert own.anchored
    assert marks(own)["shuffled"].x == NOISE_X


def test_interval_is_drawn_around_its_value(score):
    band = marks(strip(score(3.0, 1.0, noise=5.0, interval=(2.0, 4.0))))["generated"].band
    assert band == pytest.approx((NOISE_X + (REAL_X - NOISE_X) / 4, NOISE_X + 3 * (REAL_X - NOISE_X) / 4), abs=0.1)


@pytest.mark.parametrize(("value", "real"), [(None, 1.0), (1.0, None), (1.0, 1.0)])
def test_nothing_to_compare_gives_no_strip(score, value, real):
    assert strip(score(value, real)) is None


def test_strip_says_in_words_what_it_shows(score):
    assert strip(score(3.0, 1.0, noise=5.0, unit="dex")).alt == (
        "generated 3.00\u202fdex, real 1.00\u202fdex, noise 5.00\u202fdex"
    )
