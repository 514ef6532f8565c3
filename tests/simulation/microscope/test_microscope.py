import math

import numpy as np
import pytest
import torch

from frazil.core.seeds import numpy_generator
from frazil.simulation.microscope.microscope import (
    Acquisition,
    MicroscopeSettings,
    close_sideways,
    image_filters,
    image_noise,
    take_tomogram,
)
from frazil.simulation.microscope.optics import CorrectionSettings, OpticsSettings
from frazil.simulation.microscope.projection import back_project, project
from frazil.simulation.microscope.tilts import TiltSeries, TiltSettings, acquire
from frazil.simulation.structures.built_in import PARTICLES

SHAPE = (24, 20, 48)
# In focus, with a phase plate of 90 degrees, the contrast transfer is 1 at every frequency; nothing is harmed or corrected.
PERFECT = OpticsSettings(
    spherical_aberration_mm=0, amplitude_contrast=0, phase_shift_degrees=90, defocus_um=(0, 0), radiation_damage=False
)
UNTOUCHED = CorrectionSettings(ctf="none", dose_weighting=False)
CONTRAST_PER_DALTON = -2 * 6.526e-4 * 4.2  # of a dalton per square angstrom at 300 kV


def perfect(**tilts) -> MicroscopeSettings:
    return MicroscopeSettings(tilts=TiltSettings(**tilts), optics=PERFECT, correction=UNTOUCHED)


def ball(shape_voxel=SHAPE, center_voxel=None, sigma_voxel=2.0) -> np.ndarray:
    center = [edge // 2 for edge in shape_voxel] if center_voxel is None else center_voxel
    distance = sum((axis - middle) ** 2 for axis, middle in zip(np.indices(shape_voxel), center, strict=True))
    return np.exp(-distance / (2 * sigma_voxel**2)).astype(np.float32)


def take(density, settings, seed=0, voxel_size_angstrom=10.0, **kwargs) -> Acquisition:
    options = {"ice_thickness_angstrom": density.shape[0] * voxel_size_angstrom} | kwargs
    return take_tomogram(density, voxel_size_angstrom, settings, numpy_generator(seed, "microscope"), **options)


def one_image(tilt_degrees: float, shift_angstrom=(0.0, 0.0), true_tilt_degrees=None) -> TiltSeries:
    return TiltSeries(
        angles_degrees=np.array([tilt_degrees]),
        true_angles_degrees=np.array([tilt_degrees if true_tilt_degrees is None else true_tilt_degrees]),
        dose_before_e_per_angstrom2=np.zeros(1),
        dose_e_per_angstrom2=2.0,
        shifts_angstrom=np.array([shift_angstrom]),
    )


def image_of(density, series: TiltSeries, voxel_size_angstrom=10.0) -> torch.Tensor:
    """Return the Fourier coefficients of the one image of a series by a perfect microscope."""
    signal, _ = image_filters(density.shape, voxel_size_angstrom, series, np.zeros(1), perfect())
    return (project(torch.from_numpy(density), series.true_angles_degrees.tolist()) * signal)[0]


# --- signal


def test_contrast_of_a_slab_of_protein():
    """0.81 Da/A^3, 100 A thick: 2 x 6.53e-4 rad/(V A) x 3.4 V x 100 A = 0.444; at 60 degrees the path is twice as long."""
    slab = np.full((20, 8, 16), 0.81, dtype=np.float32)
    mean = image_of(slab, one_image(0.0), voxel_size_angstrom=5.0)[0, 0].real / (8 * 16)
    assert mean.item() == pytest.approx(-0.444, abs=0.002)
    tilted = image_of(slab, one_image(60.0), voxel_size_angstrom=5.0)[0, 0].real / (8 * 16 * math.cos(math.radians(60)))
    assert tilted.item() == pytest.approx(2 * mean.item(), rel=1e-5)


@pytest.mark.parametrize("voxel_size", [5.0, 20.0])
def test_a_perfect_microscope_returns_mass_density_in_contrast(voxel_size):
    """Nothing but projection, back-projection and one constant; matter is dark."""
    density = ball()
    acquisition = take(density, perfect(), voxel_size_angstrom=voxel_size)
    tilts = acquisition.series.angles_degrees.tolist()
    expected = back_project(project(torch.from_numpy(density), tilts), SHAPE, tilts).numpy()
    expected = expected * CONTRAST_PER_DALTON * voxel_size
    np.testing.assert_allclose(acquisition.signal, expected, atol=1e-3 * np.abs(expected).max())
    assert acquisition.signal.argmin() == np.ravel_multi_index((12, 10, 24), SHAPE)


def test_the_signal_is_linear_in_density_and_the_noise_knows_nothing_of_it():
    first, second = ball(), ball(center_voxel=(5, 3, 40), sigma_voxel=1.5)
    settings = MicroscopeSettings(tilts=TiltSettings(shift_error_angstrom=8, angle_error_degrees=0.5))
    a, b, both = (take(density, settings) for density in (first, second, 2 * first - 0.5 * second))
    np.testing.assert_allclose(both.signal, 2 * a.signal - 0.5 * b.signal, atol=1e-5 * np.abs(a.signal).max())
    np.testing.assert_array_equal(a.noise, both.noise)
    assert not take(np.zeros_like(first), settings).signal.any()


@pytest.mark.parametrize("shape", [SHAPE, (23, 21, 47), (1, 20, 48), (24, 1, 16)])
def test_a_tomogram_is_float32_of_any_size_and_leaves_the_specimen_alone(shape):
    density = ball(shape)
    before = density.copy()
    acquisition = take(density, MicroscopeSettings())
    for part in (acquisition.signal, acquisition.noise):
        assert part.dtype == np.float32
        assert part.shape == shape
        assert np.isfinite(part).all()
        assert part.any()
    np.testing.assert_array_equal(density, before)


def test_a_displaced_specimen_gives_the_displaced_tomogram():
    """By whole voxels: around the border sideways, and along the beam as far as the slab goes; whatever the microscope does."""
    settings = MicroscopeSettings(tilts=TiltSettings(range_degrees=(-30, 51), shift_error_angstrom=8))
    image = take(ball(), settings).signal
    tolerance = 1e-5 * np.abs(image).max()
    sideways = take(np.roll(ball(), (7, -19), (1, 2)), settings).signal
    np.testing.assert_allclose(sideways, np.roll(image, (7, -19), (1, 2)), atol=tolerance)
    centered, up = np.zeros(SHAPE, dtype=np.float32), np.zeros(SHAPE, dtype=np.float32)
    centered[8:16] = ball()[8:16]
    up[11:19] = ball()[8:16]
    np.testing.assert_allclose(take(up, settings).signal[3:], take(centered, settings).signal[:-3], atol=tolerance)


# --- damage and correction


def test_damage_takes_what_late_tilts_had_to_show():
    """In a dose-symmetric series steep images are late; a one-way series spoils one side of the wedge."""
    point = np.zeros((32, 4, 64), dtype=np.float32)
    point[16, 2, 32] = 1

    def sides(order: str) -> tuple[float, float]:
        optics = PERFECT.model_copy(update={"radiation_damage": True})
        tilts = TiltSettings(order=order, dose_e_per_angstrom2=120)
        image = take(point, MicroscopeSettings(tilts=tilts, optics=optics, correction=UNTOUCHED)).signal
        power = np.abs(np.fft.fft2(image[:, 2])) ** 2
        kz, kx = np.fft.fftfreq(32)[:, None], np.fft.fftfreq(64)[None]
        steep = (np.abs(kz) > 0.5 * np.abs(kx)) & (np.abs(kx) > 0.15)
        return float(power[steep & (kz * kx < 0)].sum()), float(power[steep & (kz * kx > 0)].sum())

    negative, positive = sides("one-way")  # lowest first: the negative tilts are early
    assert negative > 1.5 * positive
    negative, positive = sides("dose-symmetric")
    assert negative == pytest.approx(positive, rel=0.1)


# --- alignment


@pytest.mark.parametrize(("tilt", "shift"), [(0.0, (23.0, -37.0)), (0.0, (-4.0, 5.0)), (40.0, (13.0, 31.0))])
def test_a_misaligned_image_shows_everything_a_little_aside(tilt, shift):
    """By a part of a pixel, along y and x of the image; in the tomogram x is drawn out by 1 / cos(tilt)."""
    moved = torch.fft.irfft2(image_of(ball(), one_image(tilt, shift)), s=SHAPE[1:]).numpy()
    y, x = 10 + shift[0] / 10, 24 + shift[1] / 10 / math.cos(math.radians(tilt))
    x += math.tan(math.radians(tilt)) * (12 - (SHAPE[0] - 1) / 2)
    sigma_x = 2.0 / math.cos(math.radians(tilt))
    grid_y, grid_x = np.indices(SHAPE[1:])
    distance = ((grid_y - y) / 2.0) ** 2 + ((grid_x - x) / sigma_x) ** 2
    expected = CONTRAST_PER_DALTON * 10 * math.sqrt(2 * math.pi) * 2.0 * np.exp(-distance / 2)
    expected = expected * math.cos(math.radians(tilt))  # the same sum over a field drawn out
    np.testing.assert_allclose(moved, expected, atol=2e-3 * np.abs(expected).max())


def test_errors_of_angle_are_in_the_images_and_not_in_the_back_projection():
    settings = perfect(angle_error_degrees=3.0)
    acquisition = take(ball(), settings)
    true, told = acquisition.series.true_angles_degrees, acquisition.series.angles_degrees
    assert np.abs(true - told).max() > 3
    density = torch.from_numpy(ball())

    def rebuilt(seen, believed) -> np.ndarray:
        images = project(density, seen.tolist()) * (10 * CONTRAST_PER_DALTON)
        return back_project(images, SHAPE, believed.tolist()).numpy()

    expected = rebuilt(true, told)
    tolerance = 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(acquisition.signal, expected, atol=tolerance)
    for seen, believed in ((true, true), (told, told), (told, true)):
        assert np.abs(acquisition.signal - rebuilt(seen, believed)).max() > 5 * tolerance


# --- noise


def noise_images(tilts: TiltSeries, shape_voxel=(40, 60, 80), thickness_angstrom=1000.0, **optics) -> np.ndarray:
    settings = OpticsSettings(**optics)
    images = image_noise(shape_voxel, 10.0, thickness_angstrom, tilts, settings, numpy_generator(0, "noise"))
    return images.numpy()


def test_pixels_of_an_image_have_the_variance_of_counted_electrons():
    """1 / (dose x area x efficiency x what passes the ice); tilted, the field of view is fewer pixels: their sum of squares."""
    tilts = acquire(TiltSettings(dose_e_per_angstrom2=62), numpy_generator(0, "tilts"))
    images = noise_images(tilts, detective_quantum_efficiency=0.5, mean_free_path_angstrom=2000)
    passed = np.exp(-1000 / 2000 / np.cos(np.radians(tilts.angles_degrees)))
    variance = 1 / (2.0 * 100 * 0.5 * passed)
    pixels = 60 * 80 * np.cos(np.radians(tilts.angles_degrees))
    inner = images[:, :, 1:40]  # stand for both signs of kx: 39 of 80 frequencies
    power = (np.abs(inner) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(power, variance * pixels, rtol=0.08)  # of 2340 coefficients, 4 sigmas
    assert (power / (variance * pixels)).mean() == pytest.approx(1, abs=0.015)
    real = np.fft.irfft2(images[0], s=(60, 80))
    assert real.var() == pytest.approx(variance[0], rel=0.06)


def test_the_spectrum_of_the_noise_follows_the_lines_of_the_tilts():
    """Sum over tilts of squared weight, variance and the width that a slab gives a line."""
    shape = (24, 400, 32)
    settings = perfect(range_degrees=(-50, 40), step_degrees=10)
    acquisition = take(np.zeros(shape, dtype=np.float32), settings)
    power = (np.abs(np.fft.fftn(acquisition.noise)) ** 2).mean(axis=1)[:, :17] / (24 * 400 * 32)
    kz, kx = np.fft.fftfreq(24)[:, None], np.fft.rfftfreq(32)[None]
    expected = np.zeros((24, 17))
    for tilt in acquisition.series.angles_degrees:
        cosine, tangent = math.cos(math.radians(tilt)), math.tan(math.radians(tilt))
        variance = 1 / (6.3 * 100 * 0.8 * math.exp(-240 / 3100 / cosine))
        weight = math.radians(10) / cosine**2 * kx * (kx <= 0.5 * cosine)
        line = np.exp(2j * np.pi * np.arange(24)[:, None, None] * (kx * tangent - kz)).sum(axis=0)
        expected += weight**2 * variance * cosine * np.abs(line) ** 2 / 24
    held = expected[:, 1:16] > 0.05 * expected.max()
    ratio = power[:, 1:16][held] / expected[:, 1:16][held]
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    assert ratio.std() < 0.1  # 400 rows: a twentieth


def test_the_correction_shapes_noise_as_it_shapes_the_signal():
    """A phase flip leaves its power, a Wiener filter does not."""
    nothing = np.zeros(SHAPE, dtype=np.float32)

    def power(correction: CorrectionSettings) -> float:
        return float(take(nothing, MicroscopeSettings(correction=correction)).noise.var(dtype=np.float64))

    untouched = power(UNTOUCHED)
    assert power(CorrectionSettings(ctf="phase-flip", dose_weighting=False)) == pytest.approx(untouched, rel=0.1)
    wiener = CorrectionSettings(ctf="wiener", wiener_snr=0.1, wiener_falloff_angstrom=100, dose_weighting=False)
    assert power(wiener) < 0.1 * untouched


# --- what is known of real tomograms


@pytest.mark.parametrize(("label", "ring_voxel"), [("apo-ferritin", 5.0), ("virus-like-particle", 11.75)])
def test_shells_stay_dark_rings_in_the_plane(label, ring_voxel):
    """Out of focus, damaged, without its wedge, but corrected for the CTF. (A phase flip alone leaves a dot in the small one.)"""
    density = PARTICLES[label].density((64, 64, 64), 10.0)
    correction = CorrectionSettings(ctf="wiener", wiener_snr=300, wiener_falloff_angstrom=50)
    tomogram = take(density, MicroscopeSettings(correction=correction)).signal
    y, x = np.indices((64, 64)) - 32
    shell = np.rint(np.hypot(y, x)).astype(int).ravel()
    profile = np.bincount(shell, tomogram[32].ravel()) / np.bincount(shell)
    assert profile[: 2 * int(ring_voxel)].argmin() == pytest.approx(ring_voxel, abs=1)
    assert profile[: int(0.3 * ring_voxel) + 1].min() > 0.3 * profile.min()


def test_in_one_tomogram_noise_is_stronger_than_signal():
    """Voxel by voxel, at 10 A and the dose of a series, a ribosome is seen and not read."""
    density = PARTICLES["ribosome"].density((40, 48, 48), 10.0)
    acquisition = take(density, MicroscopeSettings(), ice_thickness_angstrom=2000.0)
    inside = density > 0.3
    assert 0.2 < -acquisition.signal[inside].mean() / acquisition.noise.std() < 1
    assert acquisition.signal[inside].mean() < -3 * abs(acquisition.signal[~inside].mean())


# What is beside the tomogram


@pytest.mark.parametrize("shape", [(3, 20, 31), (2, 7, 9)])
def test_a_closed_volume_goes_on_without_a_seam(shape):
    volume = np.cumsum(np.ones(shape, dtype=np.float32), axis=2) + 10 * np.arange(shape[1], dtype=np.float32)[:, None]
    closed = close_sideways(volume, 6)
    _, y, x = shape
    np.testing.assert_array_equal(closed[:, :y, :x], volume)
    assert closed.shape[1] >= y + 6
    assert closed.shape[2] >= x + 6
    assert closed.dtype == np.float32
    # no step is larger than what the fading itself climbs; a seam would be a step of the whole range
    for axis in (1, 2):
        steps = np.abs(np.diff(np.concatenate([closed, closed.take([0], axis)], axis), axis=axis)).max()
        assert steps < 0.6 * np.ptp(volume.take([0], 3 - axis))
    assert closed.min() >= volume.min() - 1e-4
    assert closed.max() <= volume.max() + 1e-4


def test_a_film_that_ends_at_a_border_leaves_no_edge_at_the_other():
    """Half of the slab is dense and is cut by the border: without what is put beside, the other border shows its edge."""
    film = np.zeros((24, 96, 96), dtype=np.float32)
    film[8:16, :, 48:] = 1.0
    settings = MicroscopeSettings(optics=OpticsSettings(detective_quantum_efficiency=1, radiation_damage=False))

    def borders(beside_angstrom):
        signal = take(film, settings, beside_angstrom=beside_angstrom).signal[8:16]
        assert signal.shape[1:] == (96, 96)
        rim = np.abs(signal[:, :, 44:52].mean(axis=(0, 1))).max()
        return np.abs(signal[:, :, [0, 1, 94, 95]].mean(axis=(0, 1))).max() / rim

    assert borders(0.0) > 0.8
    assert borders(400.0) < 0.45
