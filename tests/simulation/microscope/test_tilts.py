import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from frazil.core.seeds import numpy_generator
from frazil.simulation.microscope.tilts import TiltSettings, acquire, order_tilts

ORDERS = ("dose-symmetric", "bidirectional", "one-way")


@st.composite
def schemes(draw) -> TiltSettings:
    lowest, highest = sorted(draw(st.lists(st.integers(-85, 85), min_size=2, max_size=2, unique=True)))
    step = draw(st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 7.0]).filter(lambda step: step <= highest - lowest))
    order = draw(st.sampled_from(ORDERS))
    return TiltSettings(range_degrees=(lowest, highest), step_degrees=step, order=order)


def test_the_scheme_of_czii():
    tilts = TiltSettings()
    assert tilts.angles_degrees == tuple(float(angle) for angle in range(-45, 46, 3))
    assert order_tilts(tilts.angles_degrees, "dose-symmetric")[:7] == [0, 3, -3, 6, -6, 9, -9]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("dose-symmetric", [0, 3, -3, 6, 9, 12]),
        ("bidirectional", [0, 3, 6, 9, 12, -3]),
        ("one-way", [-3, 0, 3, 6, 9, 12]),
    ],
)
def test_orders_of_an_asymmetric_range(order, expected):
    assert order_tilts((-3.0, 0.0, 3.0, 6.0, 9.0, 12.0), order) == expected


@given(settings=schemes())
def test_tilts_fill_the_range_with_its_step(settings):
    angles = np.asarray(settings.angles_degrees)
    lowest, highest = settings.range_degrees
    assert angles[0] == lowest
    assert highest - settings.step_degrees < angles[-1] + 1e-4 <= highest + 2e-4
    np.testing.assert_allclose(np.diff(angles), settings.step_degrees, atol=1e-9)


def test_the_highest_tilt_is_not_lost_to_rounding():
    """0.3 / 0.1 is 2.9999999999999996."""
    assert TiltSettings(range_degrees=(0, 0.3), step_degrees=0.1).angles_degrees == pytest.approx((0, 0.1, 0.2, 0.3))
    assert len(TiltSettings(range_degrees=(-60, 60), step_degrees=0.1).angles_degrees) == 1201
    assert TiltSettings(range_degrees=(-10, 9), step_degrees=5).angles_degrees == (-10, -5, 0, 5)


@given(settings=schemes())
def test_every_tilt_is_taken_once_and_next_to_one_taken_before(settings):
    angles = settings.angles_degrees
    taken = order_tilts(angles, settings.order)
    assert sorted(taken) == list(angles)
    places = [angles.index(angle) for angle in taken]
    for count in range(1, len(places) + 1, max(1, len(places) // 7)):
        assert max(places[:count]) - min(places[:count]) == count - 1
    if settings.order != "one-way":
        assert abs(taken[0]) == min(abs(angle) for angle in angles)


@given(settings=schemes())
def test_dose_adds_up_in_the_order_of_acquisition(settings):
    series = acquire(settings, numpy_generator(0, "tilts"))
    count = len(settings.angles_degrees)
    assert series.dose_before_e_per_angstrom2[0] == 0
    np.testing.assert_allclose(np.diff(series.dose_before_e_per_angstrom2), series.dose_e_per_angstrom2)
    last = series.dose_before_e_per_angstrom2[-1] + series.dose_e_per_angstrom2
    assert last == pytest.approx(settings.dose_e_per_angstrom2)
    assert series.dose_e_per_angstrom2 == pytest.approx(settings.dose_e_per_angstrom2 / count)
    assert series.angles_degrees.tolist() == order_tilts(settings.angles_degrees, settings.order)


def test_errors_have_their_standard_deviation_and_follow_the_generator():
    settings = TiltSettings(
        range_degrees=(-60, 60), step_degrees=0.1, angle_error_degrees=0.4, shift_error_angstrom=7.0
    )
    series, again, other = (acquire(settings, numpy_generator(seed, "tilts")) for seed in (0, 0, 1))
    angle_errors = series.true_angles_degrees - series.angles_degrees
    assert angle_errors.std() == pytest.approx(0.4, rel=0.08)  # of 1201
    assert series.shifts_angstrom.std(axis=0) == pytest.approx([7.0, 7.0], rel=0.08)
    assert np.abs(np.corrcoef([angle_errors, *series.shifts_angstrom.T]) - np.eye(3)).max() < 0.1
    np.testing.assert_array_equal(series.true_angles_degrees, again.true_angles_degrees)
    np.testing.assert_array_equal(series.shifts_angstrom, again.shifts_angstrom)
    assert not np.array_equal(series.shifts_angstrom, other.shifts_angstrom)


def test_an_error_does_not_turn_the_slab_edge_on():
    settings = TiltSettings(range_degrees=(-85, 85), step_degrees=1, angle_error_degrees=30)
    assert np.abs(acquire(settings, numpy_generator(0, "tilts")).true_angles_degrees).max() <= 89


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"range_degrees": (-95, 45)}, "tilt range -95,45: .* within -85 and 85"),
        ({"range_degrees": (45, -45)}, "tilt range 45,-45: write it as LOWEST,HIGHEST"),
        ({"range_degrees": (-86, 0)}, "tilt range -86,0"),
        ({"step_degrees": 0}, "tilt step 0: make it above 0 and at most 90"),
        ({"step_degrees": 91}, "tilt step 91: .* at most 90, the range"),
    ],
)
def test_what_cannot_be_a_tilt_series_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        TiltSettings.model_validate(changes)


@pytest.mark.parametrize(("asked", "step", "taken"), [((-44, 50), 7, (-44, 47)), ((-45, 45), 3, (-45, 45))])
def test_the_range_that_is_taken_ends_at_the_last_tilt(asked, step, taken):
    angles = TiltSettings(range_degrees=asked, step_degrees=step).angles_degrees
    assert (angles[0], angles[-1]) == taken
