import math

import numpy as np
import pytest

from frazil.core.seeds import numpy_generator
from frazil.simulation.microscope import denoiser
from frazil.simulation.microscope.denoiser import DenoiserSettings

SHAPE = (32, 20, 24)


def restrained(**settings) -> DenoiserSettings:
    """Without saturation, unless asked for."""
    return DenoiserSettings(**{"dark_saturation": 1e6, "bright_saturation": 1e6, **settings})


PASS_ALL = restrained(noise_left=1, resolution_angstrom=1e-3, shrinkage=0)  # the gain is 1 at every frequency
LINEAR = restrained(noise_left=0.3, shrinkage=0)


def denoise(tomogram, voxel_size_angstrom, settings, seed=0) -> np.ndarray:
    return denoiser.denoise(tomogram, voxel_size_angstrom, settings, numpy_generator(seed, "texture"))


def volume(seed: int, shape=SHAPE, scale: float = 1e-3) -> np.ndarray:
    return np.float32(scale) * numpy_generator(seed, "volume").standard_normal(shape, dtype=np.float32)


def nothing(shape=SHAPE) -> np.ndarray:
    return np.zeros(shape, dtype=np.float32)


def wave(cycles: tuple[int, int, int], shape=SHAPE) -> np.ndarray:
    """Return a plane wave with so many cycles along z, y and x, in cycles of the edges."""
    phase = sum(axis * count / edge for axis, count, edge in zip(np.indices(shape), cycles, shape, strict=True))
    return np.cos(2 * np.pi * phase).astype(np.float32)


@pytest.mark.parametrize(("cycles_y", "cycles_x"), [(0, 6), (5, 0), (3, 4), (10, 0), (0, 12)])
def test_a_wave_in_the_plane_passes_with_its_gain(cycles_y, cycles_x):
    """Nyquist of the even edges included. At 10 A a voxel 6 cycles of 24 voxels are 40 A, the resolution: one half."""
    settings = restrained(resolution_angstrom=40, steepness=4, shrinkage=0)
    sine = wave((0, cycles_y, cycles_x))
    frequency = math.hypot(cycles_y / SHAPE[1], cycles_x / SHAPE[2]) / 10
    gain = 1 / (1 + (40 * frequency) ** 4)
    np.testing.assert_allclose(denoise(sine, 10.0, settings), gain * sine, atol=2e-6)
    if (cycles_y, cycles_x) == (0, 6):
        assert gain == pytest.approx(0.5)


def test_a_wave_along_the_beam_passes_with_its_gain_away_from_the_faces():
    settings = restrained(resolution_angstrom=40, steepness=4, shrinkage=0)
    sine = wave((10, 0, 6), (80, 4, 24))
    gain = 1 / (1 + (4 * math.hypot(10 / 80, 6 / 24)) ** 4)
    denoised = denoise(sine, 10.0, settings)
    np.testing.assert_allclose(denoised[20:60], gain * sine[20:60], atol=1e-4)


def test_without_shrinkage_and_saturation_it_is_linear():
    signal, noise = volume(0), volume(1)
    np.testing.assert_allclose(denoise(noise, 10.0, PASS_ALL), noise - noise.mean(), atol=3e-9)
    parts = denoise(signal, 10.0, LINEAR) + denoise(noise, 10.0, LINEAR)
    np.testing.assert_allclose(denoise(signal + noise, 10.0, LINEAR), parts, atol=4e-9)


def test_shrinkage_takes_from_the_faint():
    """x^3 / (x^2 + tau^2): a value of tau is halved, and the sign stays."""
    values = volume(0)
    values -= values.mean()
    tau = 0.6 * values.std()
    shrunk = denoise(values, 10.0, PASS_ALL.model_copy(update={"shrinkage": 0.6}))
    expected = values.astype(float) ** 3 / (values.astype(float) ** 2 + tau**2)
    np.testing.assert_allclose(shrunk, expected - expected.mean(), atol=2e-9)
    place = np.unravel_index(np.abs(values - tau).argmin(), SHAPE)
    assert shrunk[place] + expected.mean() == pytest.approx(tau / 2, rel=1e-2)


def test_shrinkage_is_in_standard_deviations():
    """So gray values may have any scale, and a tomogram its tails."""
    settings = restrained(shrinkage=0.8)
    small, large = (denoise(volume(0, scale=scale), 10.0, settings) for scale in (1e-5, 1.0))
    np.testing.assert_allclose(1e5 * small, large, atol=1e-5)

    def kurtosis(values: np.ndarray) -> float:
        return float((values.astype(float) ** 4).mean() / (values.astype(float) ** 2).mean() ** 2)

    assert kurtosis(large) > kurtosis(volume(0)) + 0.5


def test_one_face_knows_nothing_of_the_other():
    """What is at the bottom changes nothing at the top, and what is uniform along the beam stays so."""
    bottom = nothing()
    bottom[0] = 1
    settings = restrained(resolution_angstrom=30, shrinkage=0)
    image = denoise(bottom, 10.0, settings)
    assert np.ptp(image[-6:]) < 2e-3 * np.ptp(image)  # of the ringing that a sampled low-pass has
    assert image[0].mean() > 0.5 + image[8].mean()
    column = np.broadcast_to(volume(0)[:1], SHAPE).copy()
    image = denoise(column, 10.0, settings)
    assert np.ptp(image, axis=0).max() < 1e-5 * np.abs(image).max()


@pytest.mark.parametrize("settings", [PASS_ALL, LINEAR, restrained()])
@pytest.mark.parametrize("shape", [SHAPE, (1, 7, 5), (3, 1, 9), (31, 21, 23)])
def test_a_tomogram_of_any_size_has_mean_zero_and_is_left_alone(settings, shape):
    noisy = volume(0, shape) + np.float32(5e-3)
    before = noisy.copy()
    denoised = denoise(noisy, 10.0, settings)
    assert denoised.dtype == np.float32
    assert denoised.shape == shape
    assert abs(denoised.mean(dtype=np.float64)) < 1e-4 * denoised.std(dtype=np.float64)
    np.testing.assert_array_equal(noisy, before)
    np.testing.assert_array_equal(denoise(noisy, 10.0, settings), denoised)


def test_a_steep_low_pass_cuts():
    """So steep that a power overflows: what is beyond is gone, what is below stays."""
    settings = restrained(resolution_angstrom=50, steepness=200, shrinkage=0)
    low, high = wave((0, 2, 0)), wave((0, 10, 12))
    np.testing.assert_allclose(denoise(low + high, 10.0, settings), low, atol=1e-5)


def test_grey_values_level_off_at_their_saturation():
    values = np.zeros((24, 8, 64), dtype=np.float32)
    values[:, :, ::4] = np.linspace(-1, 1, 16, dtype=np.float32) ** 3  # symmetric, so that the mean is 0
    std = values.std()
    out = denoise(
        values,
        10.0,
        PASS_ALL.model_copy(update={"dark_saturation": 3.0, "bright_saturation": 0.5}),
    )
    limit = np.where(values > 0, 0.5, 3.0) * std
    expected = values / np.sqrt(1 + (values / limit) ** 2)
    np.testing.assert_allclose(out, expected - expected.mean(), atol=1e-5)
    assert out.max() + expected.mean() < 0.5 * std


@pytest.mark.parametrize(("axis", "edge", "cycles"), [(0, 64, 16), (1, 40, 10), (2, 48, 12)])
def test_the_low_pass_has_a_width_along_each_axis(axis, edge, cycles):
    """A wave of 40 A is halved along the axis whose resolution is 40 A; elsewhere it passes."""
    shape = (80, 40, 48)
    count = cycles * shape[axis] // edge
    sine = wave(tuple(count if other == axis else 0 for other in range(3)), shape)
    inside = slice(20, 60)
    for wide in range(3):
        resolution = tuple(40.0 if other == wide else 1e-3 for other in range(3))
        passed = denoise(sine, 10.0, restrained(resolution_angstrom=resolution, shrinkage=0))
        np.testing.assert_allclose(passed[inside], (0.5 if wide == axis else 1.0) * sine[inside], atol=2e-3)


def test_texture_has_its_strength_and_its_length_and_fills_the_wedge():
    """A field that varies along x alone has no power along z; texture of a tenth of its strength brings a hundredth."""
    field = np.broadcast_to(volume(0, (1, 1, 64), scale=1.0), (64, 64, 64)).copy()
    settings = PASS_ALL.model_copy(update={"texture": 0.1, "texture_angstrom": 10.0})
    added = denoise(field, 10.0, settings) - denoise(field, 10.0, PASS_ALL)
    assert added.std() == pytest.approx(0.1 * field.std(), rel=0.05)
    power = np.square(np.abs(np.fft.fftn(added)))[:, 0, 0]
    frequency = np.fft.fftfreq(64) / 10
    half = 1 / (2 * np.pi * 10)  # cycles per angstrom where the power is one half
    low, high = power[np.abs(frequency) < half / 2][1:].mean(), power[np.abs(frequency) > 2 * half].mean()
    assert 3 < low / high < 30
    other = denoise(field, 10.0, settings, seed=1) - denoise(field, 10.0, PASS_ALL)
    assert abs(np.corrcoef(added.ravel(), other.ravel())[0, 1]) < 0.02
