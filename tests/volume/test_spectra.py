import numpy as np
import pytest

from frazil.core.errors import ShapeError
from frazil.volume.spectra import (
    PLANES,
    Curve,
    appearance,
    distance_dex,
    mean_curve,
    radial_curve,
    slice_power,
    volume_power,
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


def test_white_noise_is_flat_with_its_variance_in_3d():
    power = volume_power(2 * white())
    assert power.mean() == pytest.approx(4, rel=0.03)
    curve = radial_curve(power)
    assert np.abs(curve.log_power[8:] - np.log10(4)).max() < 0.04  # those below have few coefficients


def test_power_in_3d_is_all_of_a_volume_at_the_frequency_of_a_wave():
    z, y, x = np.indices((32, 40, 48))
    volume = np.cos(2 * np.pi * (z / 8 + y / 5 + x / 6)) + 1e-4 * white((32, 40, 48))
    power = volume_power(volume)
    window = np.multiply.outer(np.multiply.outer(*(np.hanning(n + 2)[1:-1] for n in (32, 40))), np.hanning(50)[1:-1])
    assert power.mean() == pytest.approx(np.square(volume * window).mean() / np.square(window).mean())  # Parseval
    assert np.unravel_index(power.argmax(), power.shape) in [(4, 8, 8), (28, 32, 40)]
    curve = radial_curve(power)
    assert curve.at[curve.log_power.argmax()] == pytest.approx(np.sqrt(1 / 64 + 1 / 25 + 1 / 36), abs=0.011)


def test_power_in_3d_keeps_the_precision_of_the_volume():
    single = volume_power(white((32, 32, 32)).astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(
        radial_curve(single).log_power, radial_curve(volume_power(white((32, 32, 32)))).log_power, atol=1e-4
    )


@pytest.mark.parametrize("shape", [(48, 64), (24, 32, 40)])
def test_rings_hold_the_coefficients_between_their_edges(shape):
    axes = np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")
    radius = np.sqrt(np.square(axes).sum(axis=0))
    curve = radial_curve(10**radius, bins=7)
    for at, log_power in zip(curve.at, curve.log_power, strict=True):
        inside = (radius >= at - 0.03) & (radius < at + 0.03)  # rings of 0.06
        assert log_power == pytest.approx(np.log10((10 ** radius[inside]).mean()))


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
    [(np.zeros((15, 32, 32)), "at least 16"), (np.ones((32, 32, 32)), "constant gray values")],
)
def test_pieces_that_have_no_spectrum_are_refused(volume, said):
    with pytest.raises(ShapeError, match=said):
        appearance(volume)
