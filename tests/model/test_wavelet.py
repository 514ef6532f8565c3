"""Front ends: known coefficients, orthonormal both ways, deviations kept with the weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.model.wavelet import BANDS, FrontEnd, depth_to_space, haar_join, haar_split, space_to_depth

TRANSFORMS = {"haar": (haar_split, haar_join), "space-to-depth": (space_to_depth, depth_to_space)}
edges = st.tuples(*[st.integers(1, 4)] * 3)


def volumes(half_edges, count=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, *(2 * edge for edge in half_edges), generator=random, dtype=torch.float64)


def stripes(band, edges=(4, 6, 2)):
    """Return what alternates in sign along every axis whose letter is H, and is 1 elsewhere."""
    waves = [
        (-1.0) ** np.arange(edge) if letter == "H" else np.ones(edge) for letter, edge in zip(band, edges, strict=True)
    ]
    return torch.from_numpy(np.einsum("z,y,x->zyx", *waves))[None, None]


@pytest.mark.parametrize("name", TRANSFORMS)
@given(half_edges=edges, seed=st.integers(0, 99))
def test_both_ways_round_give_back_what_went_in_and_keep_inner_products(name, half_edges, seed):
    split, join = TRANSFORMS[name]
    x, y = volumes(half_edges, seed=seed), volumes(half_edges, seed=seed + 100)
    bands = split(x)
    assert bands.shape == (2, 8, *half_edges)
    torch.testing.assert_close(join(bands), x, rtol=0, atol=1e-14)
    torch.testing.assert_close(split(join(bands)), bands, rtol=0, atol=1e-14)
    torch.testing.assert_close((bands * split(y)).flatten(1).sum(1), (x * y).flatten(1).sum(1), rtol=1e-12, atol=1e-12)


def test_a_float32_volume_with_the_strongest_voxels_of_a_tomogram_comes_back():
    x = volumes((8, 8, 8)).float().clamp(-1, 1) * 13
    assert (haar_join(haar_split(x)) - x).abs().max() < 1e-5
    assert torch.equal(depth_to_space(space_to_depth(x)), x)


@pytest.mark.parametrize("band", BANDS)
def test_stripes_are_in_the_haar_band_of_their_name_alone(band):
    # LLL is the constant, HHH the checkerboard; a pattern of ones has norm sqrt(8) in a cube of eight voxels
    expected = torch.zeros(1, 8, 2, 3, 1, dtype=torch.float64)
    expected[:, BANDS.index(band)] = 8**0.5
    torch.testing.assert_close(haar_split(stripes(band)), expected)


@pytest.mark.parametrize("number", range(8))
def test_space_to_depth_sorts_the_voxels_of_a_cube_by_z_then_y_then_x(number):
    x = torch.zeros(1, 1, 4, 4, 4)
    z, y, x_ = (number >> 2) & 1, (number >> 1) & 1, number & 1
    x[..., z::2, y::2, x_::2] = 1
    assert space_to_depth(x).amax(dim=(0, 2, 3, 4)).tolist() == [float(band == number) for band in range(8)]


def test_haar_is_the_hadamard_matrix_on_the_voxels_of_a_cube():
    x = volumes((2, 3, 4))
    two = np.array([[1, 1], [1, -1]]) / 2**0.5
    matrix = torch.from_numpy(np.kron(np.kron(two, two), two))
    torch.testing.assert_close(haar_split(x), torch.einsum("kv,bvzyx->bkzyx", matrix, space_to_depth(x)))


def test_white_noise_stays_white():
    bands = haar_split(volumes((16, 16, 16), count=4))
    covariance = torch.cov(bands.transpose(0, 1).flatten(1))
    assert (covariance - torch.eye(8)).abs().max() < 5 * (2 / 4 / 16**3) ** 0.5


def test_without_a_front_end_nothing_is_transformed_or_stored():
    front_end = FrontEnd("none")
    x = volumes((2, 2, 2))
    assert front_end.split(x) is x
    assert front_end.join(x) is x
    assert not front_end.state_dict()
    assert front_end.band_scale().tolist() == [1]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_deviations_are_a_buffer_and_come_from_the_settings(name):
    given_std = [2.5, 1, 1, 0.5, 1, 0.5, 0.5, 0.0625]
    front_end = FrontEnd(name, given_std)
    assert front_end.state_dict()["std"].tolist() == given_std == front_end.band_scale().tolist()
    assert not list(front_end.parameters())
    assert FrontEnd(name).band_scale().tolist() == [1] * 8
    x = volumes((2, 2, 2))
    torch.testing.assert_close(front_end.join(front_end.split(x)), x)
    assert torch.equal(front_end.split(x), TRANSFORMS[name][0](x))
