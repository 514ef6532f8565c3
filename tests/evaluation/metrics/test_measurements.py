import numpy as np
import pytest
from scipy import ndimage, stats

from frazil.core.errors import ShapeError
from frazil.evaluation.metrics.measurements import (
    GREY_BINS,
    GREY_WIDTH,
    LOWEST_GREY,
    axis_autocorrelation,
    density,
    grey_histogram,
    measure,
    wasserstein,
)
from frazil.evaluation.volumes import VolumeSet
from frazil.volume.spectra import appearance, volume_power


def noise(count=3, edge=32, seed=0) -> VolumeSet:
    volumes = np.random.default_rng(seed).standard_normal((count, edge, edge, edge), dtype=np.float32)
    return VolumeSet(volumes, np.array(["a", "b", "a"][:count]), tuple("xyz"[:count]), 10.0)


def wedged(volumes: VolumeSet, half_degrees: float) -> VolumeSet:
    """Keep what a tilt series about y measures."""
    edge = volumes.volumes.shape[1]
    kz, _, kx = np.meshgrid(*[np.fft.fftfreq(edge)] * 3, indexing="ij")
    kept = np.abs(kz) <= np.abs(kx) * np.tan(np.radians(half_degrees)) + 1e-9
    filtered = np.fft.ifftn(np.fft.fftn(volumes.volumes, axes=(1, 2, 3)) * kept, axes=(1, 2, 3)).real
    return VolumeSet(filtered.astype(np.float32), volumes.labels, volumes.names, 10.0)


def test_every_volume_is_measured_in_its_place_whatever_the_threads():
    one = noise()
    together = measure(one)
    assert len(together) == 3
    for row in range(3):
        alone = measure(one.subset([row]))
        np.testing.assert_array_equal(together.curves["3D"][row], alone.curves["3D"][0])
        np.testing.assert_array_equal(together.polar[row], alone.polar[0])
        look = appearance(one.volumes[row])
        assert together.skew[row] == look.skew
        np.testing.assert_array_equal(together.curves["wedge"][row], look.wedge.log_power)


def test_white_noise_fills_the_wedge_as_everything_else():
    found = measure(noise())
    np.testing.assert_allclose(found.wedge_power, 1, atol=0.06)
    # the shells at the lowest frequencies have few coefficients
    assert np.abs(found.curves["3D"].mean(axis=0)[2:]).max() < 0.08


def test_the_wedge_of_a_tilt_series_is_empty_and_that_of_a_larger_range_begins_elsewhere():
    pieces = wedged(noise(), 45)
    assert measure(pieces).wedge_power.max() < 0.05
    assert measure(pieces, tilt_range_degrees=(-45, 45)).wedge_power.max() < 0.05
    # looked for beyond 25 degrees, there is power up to 45
    assert measure(pieces, tilt_range_degrees=(-20, 20)).wedge_power.min() > 0.2


def test_an_asymmetric_range_has_its_wedge_on_one_side():
    # slices tilted by 30 to 60 degrees: beyond the range of (-60, 0), within that of (0, 60)
    edge = 32
    kz, _, kx = np.meshgrid(*[np.fft.fftfreq(edge)] * 3, indexing="ij")
    tilt = np.degrees(np.arctan2(kz * np.where(kx < 0, -1, 1), np.abs(kx)))
    white = noise()
    filtered = np.fft.ifftn(np.fft.fftn(white.volumes, axes=(1, 2, 3)) * ((tilt > 30) & (tilt < 60)), axes=(1, 2, 3))
    pieces = VolumeSet(filtered.real.astype(np.float32), white.labels, white.names, 10.0)
    assert measure(pieces, tilt_range_degrees=(0, 60)).wedge_power.max() < 0.1
    assert measure(pieces, tilt_range_degrees=(-60, 0)).wedge_power.min() > 5


def test_a_full_tilt_range_has_no_wedge():
    assert np.isnan(measure(noise(), tilt_range_degrees=(-88, 88)).wedge_power).all()


def test_classes_are_taken_out():
    found = measure(noise())
    own = found.of("a")
    assert len(own) == 2
    np.testing.assert_array_equal(own.curves["XY"], found.curves["XY"][[0, 2]])
    np.testing.assert_array_equal(own.profile, found.polar[[0, 2]].mean(axis=1))


def test_a_volume_without_contrast_is_refused():
    one = noise()
    flat = VolumeSet(np.ones_like(one.volumes), one.labels, one.names, 10.0)
    with pytest.raises(ShapeError, match="constant gray values; take one with contrast"):
        measure(flat)


def mean_autocorrelation(volumes) -> np.ndarray:
    return np.mean([axis_autocorrelation(volume_power(volume)) for volume in volumes], axis=0)


def white(count, edge=32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, edge, edge, edge))


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


def gaussian(mean=0.0, deviation=1.0, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, deviation, (48, 48, 48)).astype(np.float32)


def test_the_wasserstein_distance_is_that_of_scipy_and_zero_to_itself():
    one, other = gaussian(), -np.random.default_rng(1).exponential(size=(48, 48, 48)) + 1
    expected = stats.wasserstein_distance(one.ravel(), other.ravel())
    assert wasserstein(grey_histogram(one), grey_histogram(other)) == pytest.approx(expected, abs=0.005)
    assert wasserstein(grey_histogram(one), grey_histogram(one)) == 0


def test_rows_are_compared_with_one_reference():
    rows = np.stack([grey_histogram(gaussian(mean=mean)) for mean in (0, 1, 2)])
    np.testing.assert_allclose(wasserstein(rows, rows[0]), [0, 1, 2], atol=0.02)


def test_a_histogram_is_a_share_and_keeps_what_lies_beyond_its_ends():
    volume = np.full((4, 4, 4), -100.0)
    volume[:2] = 100
    histogram = grey_histogram(volume)
    assert histogram.sum() == pytest.approx(1)
    assert histogram[0] == histogram[-1] == 0.5
    assert (LOWEST_GREY, LOWEST_GREY + GREY_BINS * GREY_WIDTH) == (-20, 20)


def test_the_density_of_a_gaussian_is_that_of_the_textbook():
    at, share = density(grey_histogram(gaussian()))
    middle = np.abs(at) < 2
    np.testing.assert_allclose(share[middle], stats.norm.pdf(at[middle]), atol=0.015)
    assert (share * (at[1] - at[0])).sum() == pytest.approx(1, abs=1e-5)
