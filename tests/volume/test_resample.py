import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.volume.resample import axis_weights, resample, resample_measured

centers = st.floats(-5, 40)
ratios = st.floats(0.4, 3.5)


def sample(values, center, size, ratio):
    """Resample `values(position)` along the three axes, each with its own center."""
    axes = [axis_weights(c, size, ratio) for c in center]
    lines = [axis.start_voxel + np.arange(axis.weights.shape[1]) for axis in axes]
    return resample(values(*np.meshgrid(*lines, indexing="ij")).astype(np.float32), [axis.weights for axis in axes])


def new_grid(center, size, ratio):
    lines = [c + (np.arange(size) - size // 2) * ratio for c in center]
    return np.meshgrid(*lines, indexing="ij")


@given(center=centers, ratio=ratios)
def test_a_constant_stays(center, ratio):
    assert axis_weights(center, 16, ratio).weights.sum(axis=1) == pytest.approx(1, abs=1e-6)


@given(center=centers, ratio=ratios)
def test_the_weights_reach_as_far_as_the_box(center, ratio):
    axis = axis_weights(center, 16, ratio)
    first, last = center - 8 * ratio, center + 7 * ratio
    assert axis.start_voxel < first
    assert axis.start_voxel + axis.weights.shape[1] - 1 > last


@given(center=st.integers(-5, 40))
def test_the_same_grid_is_the_identity(center):
    axis = axis_weights(float(center), 8, 1.0)
    volume = np.random.default_rng(0).standard_normal((axis.weights.shape[1],) * 3).astype(np.float32)
    first = center - 4 - axis.start_voxel
    inner = slice(first, first + 8)
    np.testing.assert_allclose(resample(volume, [axis.weights] * 3), volume[inner, inner, inner], atol=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.37, 2.0])
def test_a_cosine_below_the_new_nyquist_keeps_its_closed_form(ratio):
    frequency = np.array([0.03, 0.07, 0.1]) / max(ratio, 1)  # cycles per old voxel

    def wave(z, y, x):
        return np.cos(2 * np.pi * (frequency[0] * z + frequency[1] * y + frequency[2] * x))

    center = (20.3, 17.8, 21.5)
    found = sample(wave, center, 16, ratio)
    np.testing.assert_allclose(found, wave(*new_grid(center, 16, ratio)), atol=0.015)


def test_what_the_coarser_grid_cannot_hold_is_removed_and_not_folded():
    # 0.4 cycles per old voxel are 0.8 per new one, beyond Nyquist: plain sampling would keep the full amplitude
    found = sample(lambda z, y, x: np.cos(2 * np.pi * 0.4 * x) + 0 * (z + y), (20, 20, 20), 16, 2.0)
    assert np.abs(found).max() < 0.02


@pytest.mark.parametrize("ratio", [0.7, 1.0, 2.0])
def test_a_gaussian_stays_in_place_and_keeps_its_width(ratio):
    center, width = (20.3, 17.8, 21.5), 4.0

    def gaussian(z, y, x):
        squares = (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2
        return np.exp(-squares / (2 * width**2))

    found = sample(gaussian, center, 32, ratio)
    np.testing.assert_allclose(found, gaussian(*new_grid(center, 32, ratio)), atol=0.01)
    assert np.unravel_index(found.argmax(), found.shape) == (16, 16, 16)
    for axis in range(3):  # symmetric about voxel D/2
        inner = np.delete(found, 0, axis=axis)
        np.testing.assert_allclose(inner, np.flip(inner, axis=axis), atol=0.01)


def test_padding_does_not_bleed_into_what_is_beside_it():
    axis = axis_weights(20.25, 16, 1.5)
    size = axis.weights.shape[1]
    measured = np.zeros((size, size, size), dtype=bool)
    measured[: size // 2] = True
    volume = np.where(measured, 5.0, 0.0).astype(np.float32)
    box, kept = resample_measured(volume, measured, [axis.weights] * 3)
    np.testing.assert_allclose(box[kept], 5, rtol=1e-5)
    assert (box[~kept] == 0).all()
    # the border lies half-way between the last measured old voxel and the next
    border = axis.start_voxel + size // 2 - 0.5
    positions = 20.25 + (np.arange(16) - 8) * 1.5
    np.testing.assert_array_equal(kept, np.broadcast_to((positions < border)[:, None, None], kept.shape))


def test_where_all_is_measured_nothing_is_divided():
    axis = axis_weights(20.25, 8, 0.8)
    volume = np.random.default_rng(0).standard_normal((axis.weights.shape[1],) * 3).astype(np.float32)
    box, kept = resample_measured(volume, np.ones(volume.shape, dtype=bool), [axis.weights] * 3)
    assert kept.all()
    np.testing.assert_array_equal(box, resample(volume, [axis.weights] * 3))


@pytest.mark.parametrize(("ratio", "worst"), [(0.8, 0.01), (1.3, 0.01), (2.0, 0.01)])
def test_a_smooth_volume_is_resampled_up_to_where_it_ends(ratio, worst):
    axes = [axis_weights(center, 16, ratio) for center in (20.3, 18.0, 22.6)]
    lines = [axis.start_voxel + np.arange(axis.weights.shape[1]) for axis in axes]
    z, y, x = np.meshgrid(*lines, indexing="ij")
    whole = (5 + np.sin(z / 8) + np.cos(y / 9) * x / 20).astype(np.float32)
    measured = (z < 22) & (y > 15)
    weights = [axis.weights for axis in axes]
    box, kept = resample_measured(np.where(measured, whole, 0), measured, weights)
    assert 0.2 < kept.mean() < 0.8
    error = np.abs(box - resample(whole, weights))[kept]
    assert error.max() < worst * np.ptp(whole)
