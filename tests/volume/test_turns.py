import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import ShapeError
from frazil.core.seeds import numpy_generator
from frazil.volume.turns import SIGNS, TURNS, turn_half
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


def test_a_symmetric_wedge_is_kept_by_all_and_a_lopsided_one_by_y_alone():
    symmetric, lopsided = (missing_wedge_mask((16, 16, 16), tilts) for tilts in ((-45.0, 45.0), (-20.0, 60.0)))
    kept = {axis: bool((turn_half(symmetric, axis) == symmetric).all()) for axis in TURNS}
    assert kept == dict.fromkeys(TURNS, True)
    kept = {axis: bool((turn_half(lopsided, axis) == lopsided).all()) for axis in TURNS}
    assert kept == {"identity": True, "x": False, "y": True, "z": False}


def test_a_turned_spectrum_is_the_spectrum_of_the_turned_volume():
    volume = noise((6, 8, 5))
    moved = np.fft.ifftshift(volume)  # the centre at voxel 0
    turned = np.fft.ifftshift(turn_half(volume, "x"))
    spectrum = np.fft.fftn(moved)
    np.testing.assert_allclose(np.fft.fftn(turned), spectrum[(-np.arange(6))[:, None], -np.arange(8)], atol=1e-4)


def test_it_refuses_an_image_and_an_unknown_axis(refuses):
    with refuses(ShapeError, "(4, 4)", "three axes"):
        turn_half(np.zeros((4, 4)), "x")
    with refuses(ShapeError, "'w'", "identity, x, y, z"):
        turn_half(np.zeros((4, 4, 4)), "w")
