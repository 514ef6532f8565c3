import numpy as np
from scipy import ndimage

from frazil.evaluation.metrics.autocorrelation import axis_autocorrelation
from frazil.volume.spectra import volume_power


def mean_autocorrelation(volumes) -> np.ndarray:
    return np.mean([axis_autocorrelation(volume_power(volume)) for volume in volumes], axis=0)


def white(count, edge=32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, edge, edge, edge))


def test_white_noise_does_not_resemble_its_neighbours():
    found = mean_autocorrelation(white(8))
    assert found.shape == (3, 9)  # lags 0 to a quarter of the edge
    np.testing.assert_allclose(found[:, 0], 1)
    assert np.abs(found[:, 1:]).max() < 0.02


def test_smoothed_noise_has_the_gaussian_of_its_smoothing_along_each_axis():
    # noise smoothed with a Gaussian of sigma has the autocorrelation exp(-lag^2 / 4 sigma^2)
    sigma = np.array([2.5, 1.5, 1.0])
    # cut out of larger volumes: pieces do not go on periodically
    pieces = [ndimage.gaussian_filter(volume, sigma, mode="wrap")[:32, :32, :32] for volume in white(20, 48)]
    lags = np.arange(9)
    expected = np.exp(-np.square(lags) / (4 * np.square(sigma[:, None])))
    np.testing.assert_allclose(mean_autocorrelation(pieces), expected, atol=0.06)


def test_a_wave_goes_up_and_down_along_its_own_axis_only():
    y = np.indices((48, 48, 48))[1]
    found = axis_autocorrelation(volume_power(np.cos(2 * np.pi * y / 8)))
    np.testing.assert_allclose(found[1], np.cos(2 * np.pi * np.arange(13) / 8), atol=0.1)
    np.testing.assert_allclose(found[0], 1, atol=1e-9)
    np.testing.assert_allclose(found[2], 1, atol=1e-9)
