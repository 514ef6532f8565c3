import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import skew

from frazil.errors import FrazilError, SettingsError, SimulationError
from frazil.seeds import numpy_generator
from frazil.simulation.microscope import (
    MicroscopeSettings,
    back_projection_transfer,
    image_specimen,
    reconstruct,
)
from frazil.simulation.structures import PARTICLES
from frazil.volume.wedge import missing_wedge_mask

# No contrast loss, no low-pass, all tilts alike: projection and back-projection alone.
BARE = MicroscopeSettings(tilt_falloff=0, resolution_angstrom=1e-3, contrast_loss_angstrom=1e6)


def bare(**changes) -> MicroscopeSettings:
    return BARE.model_copy(update=changes)


def project_and_back_project(
    centers_zx: np.ndarray,
    sigma_voxel: float,
    shape_zx: tuple[int, int],
    tilts_degrees: tuple[float, ...],
    step_degrees: float,
) -> np.ndarray:
    """Do it the long way: closed projections of Gaussians, ramp filter on a long line, interpolation onto the slab."""
    line = np.arange(-512, 512)
    z, x = np.indices(shape_zx)
    slab = np.zeros(shape_zx)
    for tilt in np.radians(tilts_degrees):
        places = centers_zx[:, 1] * np.cos(tilt) + centers_zx[:, 0] * np.sin(tilt)
        image = (
            np.exp(-((line[:, None] - places) ** 2) / (2 * sigma_voxel**2)).sum(axis=1)
            * np.sqrt(2 * np.pi)
            * sigma_voxel
        )
        filtered = np.fft.ifft(np.fft.fft(image) * np.abs(np.fft.fftfreq(len(line)))).real
        slab += np.interp(x * np.cos(tilt) + z * np.sin(tilt), line, filtered) * np.radians(step_degrees)
    return slab


@pytest.mark.parametrize("tilt_range", [(-45.0, 45.0), (-60.0, 60.0), (-20.0, 62.0)])
def test_one_product_does_what_projecting_and_back_projecting_does(tilt_range):
    depth, width = 48, 192
    centers = np.array([[24.0, 96.0], [10.0, 80.0], [38.5, 101.25]])
    z, x = np.indices((depth, width))
    slab = sum(np.exp(-((z - cz) ** 2 + (x - cx) ** 2) / (2 * 2.0**2)) for cz, cx in centers)
    settings = bare(tilt_range_degrees=tilt_range)
    short = reconstruct(torch.from_numpy(slab).float()[:, None, :], 10.0, settings)[:, 0, :].numpy()
    long = project_and_back_project(centers, 2.0, (depth, width), settings.tilts_degrees, settings.tilt_step_degrees)
    assert np.corrcoef(short.ravel(), long.ravel())[0, 1] > 0.99
    assert np.dot(short.ravel(), long.ravel()) / np.dot(long.ravel(), long.ravel()) == pytest.approx(1.0, abs=0.05)


def test_nearly_all_directions_return_the_object():
    settings = bare(tilt_range_degrees=(-84.0, 84.0), tilt_step_degrees=1.0)
    z, _, x = np.indices((48, 8, 96))
    volume = np.exp(-((z - 24) ** 2 + (x - 48) ** 2) / (2 * 3.0**2)).astype(np.float32)
    back = reconstruct(torch.from_numpy(volume), 10.0, settings).numpy()
    volume -= volume.mean(axis=2, keepdims=True)  # the ramp takes what does not change along x
    assert np.corrcoef(back.ravel(), volume.ravel())[0, 1] > 0.97
    assert back.max() == pytest.approx(1.0, abs=0.1)


def test_the_transfer_lies_in_the_measured_wedge():
    settings = bare(tilt_range_degrees=(-20.0, 50.0))
    transfer = back_projection_transfer(64, 128, settings).square()
    measured = missing_wedge_mask((128, 1, 128), (-22.0, 52.0))[:, 0, :65]
    far = torch.fft.rfftfreq(128)[None, :] > 0.1
    assert (transfer * ~measured * far).sum() < 0.05 * (transfer * far).sum()


def test_single_tilts_leave_lines():
    """Far from the centre the lines of two tilts part, and between them nothing is measured: the X-shaped streaks."""
    settings = bare(tilt_step_degrees=15.0)
    transfer = back_projection_transfer(64, 128, settings)
    column = 35  # kx = 35 / 128 cycles per voxel; kz is counted in 1 / 128
    on_line = [round(column * math.tan(math.radians(tilt))) for tilt in (-30, -15, 0, 15, 30)]
    between = [round(column * math.tan(math.radians(tilt))) for tilt in (-22.5, -7.5, 7.5, 22.5)]
    assert transfer[on_line, column].min() > 5 * transfer[between, column].abs().max()


def test_the_wedge_profile_falls_like_that_of_czii():
    """Power by angle in the kz-kx plane, relative to 0 degrees: 0.65 at 25, 0.4 at 32, 0.2 at 40, 0.02 at 50 degrees."""
    transfer = back_projection_transfer(128, 256, MicroscopeSettings()).square()
    kz = torch.fft.fftfreq(256)[:, None]
    kx = torch.fft.rfftfreq(256)[None, :]
    angle = torch.rad2deg(torch.atan2(kz, kx)).abs()
    ring = (torch.hypot(kz, kx) - 0.2).abs() < 0.1

    def power(degrees: float) -> float:
        return transfer[ring & ((angle - degrees).abs() < 3)].mean().item()

    profile = [power(degrees) / power(3) for degrees in (25, 32, 40, 50, 60, 80)]
    assert profile[:3] == pytest.approx([0.65, 0.4, 0.2], abs=0.08)
    assert max(profile[3:]) < 0.03


def test_particles_are_drawn_out_along_the_beam_and_not_along_the_tilt_axis():
    z, y, x = np.indices((48, 48, 48)) - 24
    ball = np.exp(-(z**2 + y**2 + x**2) / (2 * 2.5**2)).astype(np.float32)
    image = reconstruct(torch.from_numpy(ball), 10.0, bare()).numpy()

    def half_width(profile: np.ndarray) -> int:
        return int((profile > profile.max() / 2).sum())

    along_z, along_y, along_x = image[:, 24, 24], image[24, :, 24], image[24, 24, :]
    assert half_width(along_z) >= 1.5 * half_width(along_y)
    assert half_width(along_y) == pytest.approx(half_width(ball[24, :, 24]), abs=1)
    assert half_width(along_x) <= half_width(along_y)


def test_reconstruction_moves_with_the_specimen_and_does_not_wrap_along_the_beam():
    z, y, x = np.indices((24, 24, 48))
    near_bottom = np.exp(-((z - 2) ** 2 + (y - 8) ** 2 + (x - 10) ** 2) / (2 * 1.5**2)).astype(np.float32)
    image = reconstruct(torch.from_numpy(near_bottom), 10.0, MicroscopeSettings())
    moved = reconstruct(torch.from_numpy(np.roll(near_bottom, (5, 12), (1, 2))), 10.0, MicroscopeSettings())
    torch.testing.assert_close(moved, image.roll((5, 12), (1, 2)), atol=1e-5, rtol=0)
    deeper = np.zeros((48, 24, 48), dtype=np.float32)
    deeper[:24] = near_bottom
    deep_image = reconstruct(torch.from_numpy(deeper), 10.0, MicroscopeSettings())
    torch.testing.assert_close(deep_image[:24], image, atol=0.02 * float(image.abs().max()), rtol=0)


def test_a_tomogram_has_the_grey_scale_and_dark_particles():
    model = PARTICLES["ribosome"]
    density = model.density((40, 48, 48), 20.0) + model.density((40, 48, 48), 20.0, center_voxel=(14, 10, 36))
    tomogram = image_specimen(density, 20.0, MicroscopeSettings(), numpy_generator(0, "noise"))
    assert tomogram.dtype == np.float32
    assert tomogram.mean(dtype=np.float64) == pytest.approx(0, abs=1e-9)
    assert tomogram.std(dtype=np.float64) == pytest.approx(6.5e-6, rel=1e-4)
    assert skew(tomogram.ravel()) < -0.5
    assert tomogram[20, 24, 24] < -3 * 6.5e-6
    assert tomogram.min() == pytest.approx(tomogram[18:23, 14:34, 14:34].min(), rel=0.5)


@pytest.mark.parametrize(("label", "ring_voxel"), [("apo-ferritin", 5.0), ("virus-like-particle", 11.75)])
def test_shells_stay_dark_rings_in_the_plane(label, ring_voxel):
    """The rings are the test that the reference generator fails: the simulator must not."""
    density = PARTICLES[label].density((64, 64, 64), 10.0)
    tomogram = image_specimen(density, 10.0, MicroscopeSettings(), numpy_generator(1, "noise"))
    y, x = np.indices((64, 64)) - 32
    shell = np.rint(np.hypot(y, x)).astype(int).ravel()
    profile = np.bincount(shell, tomogram[32].ravel()) / np.bincount(shell)
    assert profile[: 2 * int(ring_voxel)].argmin() == pytest.approx(ring_voxel, abs=1)
    assert profile[: int(0.3 * ring_voxel) + 1].min() > 0.3 * profile.min()


def test_noise_is_physical_and_follows_the_generator():
    """White noise of a fixed power per volume: cubes of 20 A average eight of 10 A."""
    settings = bare(noise=1.0)
    nothing = np.zeros((16, 16, 16), dtype=np.float32)
    first, again, other = (image_specimen(nothing, 10.0, settings, numpy_generator(0, "noise", i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.1
    ball = 100 * PARTICLES["apo-ferritin"].density((16, 16, 16), 20.0)

    def contrast(voxel_size_angstrom: float) -> float:
        """Standard deviation of the ball over that of the noise, from their sum."""
        both = image_specimen(ball, voxel_size_angstrom, settings, numpy_generator(0, "noise"))
        alone = image_specimen(ball, voxel_size_angstrom, bare(noise=0.0), numpy_generator(0, "noise"))
        share = np.corrcoef(both.ravel(), alone.ravel())[0, 1]
        return float(share / np.sqrt(1 - share**2))

    assert contrast(20.0) / contrast(10.0) == pytest.approx(8**0.5, rel=0.1)


def test_tilts_include_both_ends():
    assert MicroscopeSettings().tilts_degrees == tuple(float(tilt) for tilt in range(-45, 46, 3))
    assert len(MicroscopeSettings(tilt_range_degrees=(-60, 60), tilt_step_degrees=0.1).tilts_degrees) == 1201


def test_text_reads_like_values():
    assert MicroscopeSettings.model_validate({"tilt_range_degrees": "-50, 48"}).tilt_range_degrees == (-50.0, 48.0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tilt_range_degrees": (-95, 45)}, SettingsError, "-95,45: a tilt beyond 90 degrees; keep"),
        ({"tilt_range_degrees": (45, -45)}, SettingsError, "45,-45: lowest not below highest; write"),
        (
            {"tilt_range_degrees": (-90, 90)},
            SimulationError,
            "-90,90: a slab is not seen edge-on; keep within -85 and 85",
        ),
        ({"tilt_step_degrees": 0}, SimulationError, "tilt step 0: make it above 0 and at most 90"),
        ({"tilt_step_degrees": -3}, SimulationError, "tilt step -3: make it above 0"),
        ({"tilt_step_degrees": 91}, SimulationError, "tilt step 91: .*at most 90"),
        ({"resolution_angstrom": 0}, SimulationError, "resolution_angstrom 0: not above 0; give a positive value"),
        ({"grey_std": -1}, SimulationError, "grey_std -1: not above 0"),
        ({"noise": -0.1}, SimulationError, "noise -0.1, .*below 0; give 0 for none"),
    ],
)
def test_what_cannot_be_a_tilt_series_is_refused(changes, error: type[FrazilError], message):
    with pytest.raises(error, match=message):
        MicroscopeSettings.model_validate(changes)


def test_what_is_no_number_is_refused():
    with pytest.raises(ValidationError):
        MicroscopeSettings.model_validate({"noise": math.nan})
