"""The power of a tomogram against what its noise was made of; a filter and a curve of gray values against the closed form."""

import numpy as np
import pytest
import scipy.fft

from frazil.core.errors import ShapeError
from frazil.volume.contrast import Contrast, fit_contrast, tomogram_power, with_contrast

SHAPE = (64, 96, 80)


def frequencies(shape):
    return np.meshgrid(*map(scipy.fft.fftfreq, shape), indexing="ij")


def noise(amplitude):
    """Return white noise, each coefficient as strong as `amplitude(kz, ky, kx)` says."""
    drawn = np.random.default_rng(2).standard_normal(SHAPE)
    return scipy.fft.ifftn(scipy.fft.fftn(drawn) * amplitude(*frequencies(SHAPE))).real.astype(np.float32)


def soft_wedge(kz, ky, kx):
    """Return 1 near kx and 0.4 near kz, and less at high frequencies."""
    angle = np.arctan2(np.abs(kz), np.abs(kx))
    return (0.7 + 0.3 * np.cos(2 * angle)) * np.exp(-(kz**2) - ky**2 - kx**2)


def test_white_noise_is_as_strong_everywhere():
    power = tomogram_power(noise(lambda *k: 0.5))
    assert power.shape == (15, 9)
    np.testing.assert_allclose(power, np.log10(0.25), atol=0.15)
    assert power.mean() == pytest.approx(np.log10(0.25), abs=0.02)


def test_a_wave_is_in_its_shell_and_angle():
    """Of 8/32 cycles per voxel, at 45 degrees to kx in the kz-kx plane."""
    z, _, x = np.indices(SHAPE)
    wave = np.cos(2 * np.pi * 0.25 * np.sqrt(0.5) * (z + x))
    power = tomogram_power(wave.astype(np.float32))
    assert np.unravel_index(power.argmax(), power.shape) == (7, 4)
    assert power[7, 4] - power[7, [0, 8]].max() > 2


def test_the_filter_is_that_of_the_closed_form():
    """From white noise to noise of a soft wedge: the gain is the ratio of both."""
    white, wedged = noise(lambda *k: 0.7), noise(soft_wedge)
    fitted = fit_contrast([white], wedged, (-60.0, 60.0))
    found = with_contrast(white, Contrast(tilt_range_degrees=None, log_gain=fitted.log_gain))
    assert np.abs(tomogram_power(found) - tomogram_power(wedged)).mean() < 0.03
    inner = (slice(8, -8),) * 3  # beyond, it shows what lies around, which is not the same
    assert np.corrcoef(found[inner].ravel(), wedged[inner].ravel())[0, 1] > 0.99


def test_gray_values_get_the_distribution_of_the_training_tomogram():
    """Noise, and noise of which dark voxels are darker: its distribution is known."""
    drawn = noise(soft_wedge)
    training = np.where(drawn < 0, drawn * (1 - drawn), drawn)[::-1]
    contrast = fit_contrast([drawn[:32], drawn[32:]], training, None)
    found = with_contrast(drawn, contrast)
    ranks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
    np.testing.assert_allclose(np.quantile(found, ranks), np.quantile(training, ranks), atol=0.03)
    assert abs(np.quantile(drawn, 0.01) - np.quantile(training, 0.01)) > 1
    below = Contrast(tilt_range_degrees=None, log_gain=[[0] * 9] * 15, gray=(-1, 1), becomes=(-3, 2))
    np.testing.assert_allclose(with_contrast(np.full(SHAPE, -5, np.float32), below), -7, atol=1e-5)


def test_a_tomogram_thinner_than_a_block_is_refused(refuses):
    with refuses(ShapeError, "31,40,40 voxels", "32"):
        tomogram_power(np.zeros((31, 40, 40), np.float32))


@pytest.mark.parametrize("curve", [{"gray": (0, 1), "becomes": (0,)}, {"gray": (1, 1), "becomes": (0, 1)}])
def test_what_is_no_curve_is_refused(curve):
    with pytest.raises(ValueError, match="as many values each, those of gray rising"):
        Contrast(tilt_range_degrees=None, log_gain=[[0] * 9] * 15, **curve)


def test_no_gain_changes_nothing_and_threads_change_no_bit():
    volume = noise(soft_wedge)
    np.testing.assert_allclose(
        with_contrast(volume, Contrast(tilt_range_degrees=None, log_gain=[[0] * 9] * 15)), volume, atol=1e-5
    )
    contrast = Contrast(tilt_range_degrees=None, log_gain=np.linspace(-0.3, 0.3, 135).reshape(15, 9).tolist())
    with scipy.fft.set_workers(2):
        two = with_contrast(volume, contrast)
    assert np.array_equal(two, with_contrast(volume, contrast))
