import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import SettingsError
from frazil.core.seeds import numpy_generator
from frazil.volume.turns import SIGNS, TURNS, draw_turns, mirrored_position, turn_half, wedge_turns
from frazil.volume.wedge import missing_wedge_mask

shapes = st.tuples(*[st.integers(min_value=2, max_value=7)] * 3)
turns = st.sampled_from(TURNS)


def noise(shape) -> np.ndarray:
    return numpy_generator(0, "turns").standard_normal(shape, dtype=np.float32)


@given(shape=shapes, axis=turns)
def test_a_delta_at_half_the_edge_stays_in_place(shape, axis):
    volume = np.zeros(shape)
    volume[tuple(edge // 2 for edge in shape)] = 1
    np.testing.assert_array_equal(turn_half(volume, axis), volume)


@pytest.mark.parametrize("axis", TURNS)
@pytest.mark.parametrize("edge", [8, 9])
def test_an_offset_from_the_centre_is_turned_as_a_vector(axis, edge):
    offset = np.array([1, -2, 3])
    volume = np.zeros((edge, edge, edge))
    volume[tuple(edge // 2 + offset)] = 1
    found = np.argwhere(turn_half(volume, axis))[0] - edge // 2
    np.testing.assert_array_equal(found, offset * SIGNS[axis])


def test_signs_are_half_turns_about_the_named_axis():
    for axis, vector in {"x": (0, 0, 1), "y": (0, 1, 0), "z": (1, 0, 0)}.items():
        matrix = np.diag(SIGNS[axis])
        np.testing.assert_array_equal(matrix @ vector, vector)  # the axis stays
        assert np.linalg.det(matrix) == pytest.approx(1)  # a rotation, no mirror
        assert np.trace(matrix) == -1  # by 180 degrees


@given(shape=shapes, axis=turns)
def test_two_half_turns_are_none_and_two_axes_make_the_third(shape, axis):
    volume = noise(shape)
    np.testing.assert_array_equal(turn_half(turn_half(volume, axis), axis), volume)
    np.testing.assert_array_equal(turn_half(turn_half(volume, "x"), "y"), turn_half(volume, "z"))


@given(axis=turns)
def test_tensors_and_batches_are_turned_like_single_arrays(axis):
    volumes = noise((2, 3, 4, 6, 5))
    turned = turn_half(torch.from_numpy(volumes), axis)
    assert isinstance(turned, torch.Tensor)
    np.testing.assert_array_equal(turned.numpy(), turn_half(volumes, axis))
    np.testing.assert_array_equal(turn_half(volumes, axis)[1, 2], turn_half(volumes[1, 2], axis))


@pytest.mark.parametrize("axis", TURNS)
def test_it_copies(axis):
    volume = noise((4, 4, 4))
    turned = turn_half(volume, axis)
    turned[:] = 0
    assert np.abs(volume).min() > 0


def test_a_turned_spectrum_is_the_spectrum_of_the_turned_volume():
    volume = noise((6, 8, 5))
    moved = np.fft.ifftshift(volume)  # the center at voxel 0
    turned = np.fft.ifftshift(turn_half(volume, "x"))
    spectrum = np.fft.fftn(moved)
    np.testing.assert_allclose(np.fft.fftn(turned), spectrum[(-np.arange(6))[:, None], -np.arange(8)], atol=1e-4)


def test_a_symmetric_range_keeps_all_turns():
    assert wedge_turns((-45.0, 45.0)) == ("identity", "x", "y", "z")


@pytest.mark.parametrize("tilts", [(-48.0, 45.0), (-30.0, 60.0), None])
def test_an_asymmetric_or_unknown_range_keeps_y_alone(tilts):
    assert wedge_turns(tilts) == ("identity", "y")


def test_what_is_no_tilt_range_is_refused(refuses):
    with refuses(SettingsError, "45", "LOWEST,HIGHEST"):
        wedge_turns((45.0, -45.0))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("tilts", [(-45.0, 45.0), (-48.0, 30.0)])
def test_turns_keep_the_mask_exactly_where_they_are_allowed(turn, tilts):
    # edges may differ: no axis is favored by the shape
    mask = missing_wedge_mask((16, 12, 14), tilts)
    # FFT order is that of a periodic box with its center at voxel 0; turning it there is turning fftshift at D/2
    centred = torch.fft.fftshift(mask.float())
    kept = torch.equal(turn_half(centred, turn), centred)
    assert kept == (turn in wedge_turns(tilts))


def test_draws_depend_on_the_generator_alone_and_reach_every_turn():
    one = draw_turns(400, TURNS, numpy_generator(3, "turns"))
    assert one == draw_turns(400, TURNS, numpy_generator(3, "turns"))
    counts = np.array([one.count(turn) for turn in TURNS])
    # each is binomial(400, 1/4): 100 +- 8.7
    assert (abs(counts - 100) < 4 * 8.7).all()
    assert set(draw_turns(50, ("identity", "y"), numpy_generator(3, "turns"))) == {"identity", "y"}


@given(turn=st.sampled_from(TURNS), at=st.tuples(*[st.integers(0, 4)] * 3))
def test_a_box_of_a_turned_tomogram_is_the_turned_box_at_the_mirrored_position(turn, at):
    # a tomogram whose voxel i mirrors to N-1-i about its middle
    tomogram = numpy_generator(5, "tomogram").standard_normal((11, 11, 11))
    last = np.full(3, 10 / 11)
    flipped = [axis for axis, part in enumerate(mirrored_position(np.zeros(3), turn, last)) if part > 0]
    turned = np.flip(tomogram, axis=flipped)
    middle = np.array(at) + 3
    there = np.rint(mirrored_position(middle / 11, turn, last) * 11).astype(int)

    def box(volume, centre):
        return volume[tuple(slice(c - 3, c + 4) for c in centre)]

    np.testing.assert_array_equal(box(turned, there), turn_half(box(tomogram, middle), turn))


def test_an_unknown_position_stays_unknown():
    assert np.isnan(mirrored_position(np.full(3, np.nan), "x", np.full(3, 0.9))).all()
