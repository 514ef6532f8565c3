import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import SettingsError
from frazil.volume.wedge import check_tilt_range, frequency_axes, missing_wedge_mask

tilts = st.integers(min_value=-90, max_value=90)
ranges = (
    st.tuples(tilts, tilts).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: (float(pair[0]), float(pair[1])))
)


def turned_180(mask: torch.Tensor, axis: int) -> torch.Tensor:
    """Rotate a mask in FFT order by 180 degrees about an axis: both other frequencies change sign."""
    others = tuple(other for other in range(3) if other != axis)
    return mask.flip(others).roll((1, 1), others)


@given(tilt_range=ranges)
def test_measured_share_of_directions_is_the_span_over_180(tilt_range):
    mask = missing_wedge_mask((127, 1, 127), tilt_range)[:, 0, :]
    kz, _, kx = frequency_axes((127, 1, 127))
    disc = ((kz**2 + kx**2) < 0.49**2)[:, 0, :]
    share = (mask & disc).sum().item() / disc.sum().item()
    assert share == pytest.approx((tilt_range[1] - tilt_range[0]) / 180, abs=0.02)


def test_the_border_is_the_outermost_tilt_on_edges_that_differ():
    mask = missing_wedge_mask((40, 3, 100), (-30.0, 60.0))
    kz, _, kx = frequency_axes((40, 3, 100))
    angle = torch.rad2deg(torch.atan(kz / kx.clamp(min=1e-9)))
    inner = (kx > 0) & (kx < 0.5) & (kz > -0.5)  # the Nyquist coefficients stand for both signs
    expected = (angle >= -30.0) & (angle <= 60.0)
    assert torch.equal((mask & inner), (expected & inner).expand_as(mask))


@pytest.mark.parametrize("shape", [(16, 16, 16), (15, 17, 15), (12, 16, 20)])
def test_half_turns_keep_a_symmetric_wedge(shape):
    mask = missing_wedge_mask(shape, (-45.0, 45.0))
    for axis in range(3):
        assert torch.equal(turned_180(mask, axis), mask)


def test_a_quarter_turn_about_z_moves_the_wedge():
    mask = missing_wedge_mask((16, 16, 16), (-45.0, 45.0))
    turned = mask.transpose(1, 2)
    assert not torch.equal(turned, mask)
    assert (turned & ~mask).sum() > 0.1 * mask.sum()


def test_an_asymmetric_range_keeps_only_the_half_turn_about_the_tilt_axis():
    mask = missing_wedge_mask((16, 16, 16), (-30.0, 60.0))
    assert [torch.equal(turned_180(mask, axis), mask) for axis in range(3)] == [False, True, False]


def test_tilt_axis_and_untilted_image_are_measured_and_the_beam_is_not():
    mask = missing_wedge_mask((16, 16, 16), (-45.0, 45.0))
    assert mask[0, :, 0].all()
    assert mask[0].all()
    assert not mask[1:, :, 0].any()


def test_a_full_range_measures_everything():
    assert missing_wedge_mask((8, 9, 10), (-90.0, 90.0)).all()


@given(tilt_range=ranges, shape=st.tuples(*[st.integers(4, 9)] * 3))
def test_every_coefficient_is_measured_with_its_conjugate(tilt_range, shape):
    mask = missing_wedge_mask(shape, tilt_range)
    assert torch.equal(mask.flip((0, 1, 2)).roll((1, 1, 1), (0, 1, 2)), mask)


@pytest.mark.parametrize(("tilt_degrees", "measured"), [(45.0, True), (-45.0, False)])
def test_a_positive_tilt_turns_z_towards_x(tilt_degrees, measured):
    """At a tilt the specimen is measured on ``kz = kx tan(tilt)``: here kz = kx and kz = -kx, of which 0..60 has one."""
    mask = missing_wedge_mask((32, 32, 32), (0.0, 60.0))
    assert bool(mask[round(5 * math.tan(math.radians(tilt_degrees))), 0, 5]) == measured


def test_frequency_axes_are_in_cycles_per_voxel_and_fft_order():
    kz, ky, kx = frequency_axes((4, 5, 2))
    assert kz.shape == (4, 1, 1)
    assert kz.flatten().tolist() == [0.0, 0.25, -0.5, -0.25]
    assert ky.flatten().tolist() == pytest.approx([0, 0.2, 0.4, -0.4, -0.2])
    assert kx.flatten().tolist() == [0.0, -0.5]


@pytest.mark.parametrize(
    ("tilt_range", "message"),
    [
        ((-95.0, 45.0), "-95,45: a tilt beyond 90 degrees; keep"),
        ((-45.0, math.inf), "-45,inf: a tilt beyond 90 degrees; keep"),
        ((45.0, -45.0), "45,-45: lowest not below highest; write"),
        ((30.0, 30.0), "30,30: lowest not below highest; write"),
    ],
)
def test_a_tilt_range_that_is_none_is_refused(tilt_range, message):
    with pytest.raises(SettingsError, match=message):
        check_tilt_range(tilt_range)
    with pytest.raises(SettingsError, match=message):
        missing_wedge_mask((8, 8, 8), tilt_range)
