import numpy as np
import pytest

from frazil.errors import ShapeError
from frazil.volume.spectra import (
    PLANES,
    Curve,
    appearance,
    distance_dex,
    mean_curve,
    radial_curve,
    slice_power,
    wedge_curve,
)


def white(shape=(48, 56, 64), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_white_noise_is_flat_with_its_variance_in_every_plane():
    volume = white()
    for plane in PLANES:
        curve = radial_curve(slice_power(2 * volume, plane))
        assert curve.at[0] == pytest.approx(0.04)
        assert curve.at[-1] == pytest.approx(0.44)
        assert np.abs(curve.log_power - np.log10(4)).max() < 0.1


def test_white_noise_has_no_wedge_and_gaussian_moments():
    looks = appearance(white())
    assert np.abs(looks.wedge.log_power).max() < 0.12
    assert looks.skew == pytest.approx(0, abs=0.05)
    assert looks.kurtosis == pytest.approx(0, abs=0.05)


def test_a_wave_stands_at_its_frequency_in_the_planes_that_hold_its_direction():
    z, y, x = np.indices((64, 64, 64))
    volume = np.cos(2 * np.pi * 0.25 * x) + 0 * z + 0 * y
    looks = appearance(volume + 1e-3 * white((64, 64, 64)))
    for plane in ("XY", "XZ"):
        curve = looks.spectra[plane]
        assert curve.at[np.argmax(curve.log_power)] == pytest.approx(0.25, abs=0.011)
    # in YZ the wave is a constant of each slice: nothing at 0.25 but the noise
    across = looks.spectra["YZ"]
    assert across.log_power[np.argmin(np.abs(across.at - 0.25))] < looks.spectra["XY"].log_power.max() - 4


@pytest.mark.parametrize("half_degrees", [30, 45, 60])
def test_the_wedge_profile_drops_where_the_wedge_begins(half_degrees):
    shape = (96, 40, 96)
    kz, _, kx = np.meshgrid(*(np.fft.fftfreq(edge) for edge in shape), indexing="ij")
    kept = np.abs(kz) <= np.abs(kx) * np.tan(np.radians(half_degrees))
    volume = np.fft.ifftn(np.fft.fftn(white(shape)) * kept).real
    wedge = appearance(volume).wedge
    assert np.abs(wedge.log_power[wedge.at < half_degrees - 6]).max() < 0.15
    assert wedge.log_power[wedge.at > half_degrees + 8].max() < -0.8
    # one half of the power is left where the wedge begins
    assert np.interp(half_degrees, wedge.at, 10**wedge.log_power) == pytest.approx(0.5, abs=0.2)


def test_scale_and_offset_do_not_matter():
    volume = white()
    one, other = appearance(volume), appearance(7e-6 * volume.astype(np.float32) + 3e-6)
    for plane in PLANES:
        assert distance_dex(one.spectra[plane], other.spectra[plane]) < 1e-4
    assert other.skew == pytest.approx(one.skew, abs=1e-3)


def test_skew_and_kurtosis_are_those_of_the_distribution():
    # the exponential distribution has skew 2 and excess kurtosis 6
    looks = appearance(-np.random.default_rng(1).exponential(size=(64, 64, 64)))
    assert looks.skew == pytest.approx(-2, abs=0.1)
    assert looks.kurtosis == pytest.approx(6, abs=0.8)


def test_distance_and_mean_of_curves():
    at = np.array([0.1, 0.2])
    one, other = Curve(at, np.array([1.0, 2.0])), Curve(at, np.array([1.5, 1.5]))
    assert distance_dex(one, other) == pytest.approx(0.5)
    np.testing.assert_allclose(mean_curve([one, other]).log_power, [1.25, 1.75])
    assert distance_dex(one, Curve(at, np.array([np.nan, 2.5]))) == pytest.approx(0.5)


def test_an_empty_ring_is_not_a_number_and_not_a_zero():
    assert np.isnan(radial_curve(np.ones((16, 16)), bins=42).log_power).any()
    assert np.isfinite(wedge_curve(np.ones((16, 16))).log_power).any()


@pytest.mark.parametrize(
    ("volume", "said"),
    [(np.zeros((15, 32, 32)), "at least 16"), (np.ones((32, 32, 32)), "constant grey values")],
)
def test_pieces_that_have_no_spectrum_are_refused(volume, said):
    with pytest.raises(ShapeError, match=said):
        appearance(volume)
