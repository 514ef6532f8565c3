import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import ShapeError
from frazil.volume.crop import box_start, crop, crop_center, crop_measured

edges = st.tuples(*[st.integers(1, 9)] * 3)
starts = st.tuples(*[st.integers(-14, 14)] * 3)


def padded_reference(volume, start, size):
    """Cut from a volume that was padded far beyond its border."""
    far = np.pad(volume, 30)
    return far[tuple(slice(s + 30, s + 30 + d) for s, d in zip(start, size, strict=True))]


def test_box_start_is_round_minus_half():
    centers = np.array([[10.4, 10.6, 11.0], [0.5, 1.5, -0.6]])
    assert box_start(centers, 8).tolist() == [[6, 7, 7], [-4, -2, -5]]


def test_delta_lands_in_voxel_half_the_edge():
    volume = np.zeros((20, 21, 22), dtype=np.float32)
    volume[9, 12, 3] = 1
    box = crop(volume, box_start(np.array([9.3, 11.8, 2.6]), 8), (8, 8, 8))
    assert np.argwhere(box).tolist() == [[4, 4, 4]]


@given(shape=edges, start=starts, size=edges)
def test_crop_is_a_slice_of_the_zero_padded_volume(shape, start, size):
    volume = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(crop(volume, start, size), padded_reference(volume, start, size))


def test_crop_is_a_copy():
    volume = np.ones((4, 4, 4), dtype=np.float32)
    crop(volume, (0, 0, 0), (2, 2, 2))[:] = 7
    assert (volume == 1).all()


@given(shape=edges, chunk=edges, start=starts, size=edges, seed=st.integers(0, 100))
def test_measured_is_inside_and_on_disk(shape, chunk, start, size, seed):
    counts = tuple(-(-edge // c) for edge, c in zip(shape, chunk, strict=True))
    present = np.random.default_rng(seed).random(counts) < 0.6
    whole = present
    for axis in range(3):
        whole = np.repeat(whole, chunk[axis], axis=axis)
    whole = whole[: shape[0], : shape[1], : shape[2]]
    measured = crop_measured(shape, chunk, present, start, size)
    np.testing.assert_array_equal(measured, padded_reference(whole, start, size))


@pytest.mark.parametrize(("edge", "cube"), [(16, 8), (16, 7), (15, 8), (15, 7)])
def test_the_centre_of_a_box_is_the_centre_of_its_crop(edge, cube):
    volume = np.zeros((edge, edge, edge))
    volume[edge // 2, edge // 2, edge // 2] = 1
    assert crop_center(volume, cube)[cube // 2, cube // 2, cube // 2] == 1


def test_a_moved_crop_moves_the_particle_the_other_way():
    volume = np.zeros((2, 16, 16, 16))
    volume[:, 8, 8, 8] = 1
    cube = crop_center(volume, 8, (1, -2, 0))
    assert cube.shape == (2, 8, 8, 8)
    assert (cube[:, 3, 6, 4] == 1).all()


def test_a_crop_beyond_the_volume_is_refused(refuses):
    with refuses(ShapeError, "14", "(0, 0, 2)", "(16, 16, 16)", "smaller"):
        crop_center(np.zeros((16, 16, 16)), 14, (0, 0, 2))
