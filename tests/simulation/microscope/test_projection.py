import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from torch_fourier_shell_correlation import fourier_shell_correlation

from frazil.core.seeds import numpy_generator, torch_generator
from frazil.simulation.microscope.optics import CorrectionSettings
from frazil.simulation.microscope.projection import (
    back_project,
    back_projection_weights,
    image_frequencies,
    project,
    weighting_gain,
)
from frazil.volume.wedge import missing_wedge_mask

TILTS = [0.0, 20.0, -45.0, 60.0]


def gaussian(shape_voxel, center_voxel, sigma_voxel) -> torch.Tensor:
    distance = sum((axis - center) ** 2 for axis, center in zip(np.indices(shape_voxel), center_voxel, strict=True))
    return torch.from_numpy(np.exp(-distance / (2 * sigma_voxel**2)).astype(np.float32))


def plane_frequencies(shape_voxel, tilt_degrees) -> tuple[np.ndarray, ...]:
    """Return (kz, ky, kx) of the central plane that a tilt measures."""
    ky = np.fft.fftfreq(shape_voxel[1])[:, None]
    kx = np.fft.rfftfreq(shape_voxel[2])[None]
    return kx * math.tan(math.radians(tilt_degrees)), ky, kx


def placed(frequencies, shape_voxel, center_voxel) -> np.ndarray:
    """Return the phases of an object at a center; heights are counted from the middle of the slab."""
    kz, ky, kx = frequencies
    cz, cy, cx = center_voxel
    return np.exp(-2j * np.pi * (kz * (cz - (shape_voxel[0] - 1) / 2) + ky * cy + kx * cx))


def image_line(coefficients: np.ndarray, width_voxel: int, tilt_degrees: float, places: np.ndarray) -> np.ndarray:
    """Return the image, summed along y, at places across the tilt axis: a Fourier series, summed term by term."""
    cosine = math.cos(math.radians(tilt_degrees))
    kx = np.fft.rfftfreq(width_voxel) / cosine
    both = np.where(kx == 0, 1, 2)
    return (both * coefficients[0] * np.exp(2j * np.pi * kx * places[:, None])).real.sum(1) / (width_voxel * cosine)


def transfer_function(shape_voxel, tilts_degrees) -> torch.Tensor:
    """What projection and back-projection together do to the coefficients of one ky of a periodic volume.

    `(2 z, x // 2 + 1)` in the order of `rfftn` of a volume padded with nothing to twice its depth.
    """
    depth, _, width = shape_voxel
    height = torch.fft.fftfreq(2 * depth, dtype=torch.float64) * 2 * depth
    kx = torch.fft.rfftfreq(width, dtype=torch.float64)
    lines = torch.zeros(2 * depth, len(kx), dtype=torch.complex128)
    for tilt, weight in zip(tilts_degrees, back_projection_weights(width, tilts_degrees), strict=True):
        phase = 2 * math.pi * math.tan(math.radians(tilt)) * height[:, None] * kx
        lines += torch.polar(weight.expand_as(phase), phase)
    return torch.fft.fft(lines * (height.abs() < depth)[:, None], dim=0).real.float()


# --- projection


@pytest.mark.parametrize("shape", [(32, 24, 48), (31, 25, 47)])
def test_a_gaussian_projects_to_a_gaussian(shape):
    center, sigma = (19.3, 11.0, 22.4), 2.0
    images = project(gaussian(shape, center, sigma), TILTS).numpy()
    for tilt, image in zip(TILTS, images, strict=True):
        _, ky, kx = frequencies = plane_frequencies(shape, tilt)
        in_image = kx / math.cos(math.radians(tilt))
        closed = (2 * np.pi) ** 1.5 * sigma**3 * np.exp(-2 * np.pi**2 * sigma**2 * (ky**2 + in_image**2))
        closed = closed * placed(frequencies, shape, center) * (in_image <= 0.5)
        np.testing.assert_allclose(image, closed, atol=2e-4 * closed.real.max())


@pytest.mark.parametrize("tilt", [30.0, -30.0, 55.0])
def test_a_positive_tilt_moves_what_is_above_the_middle_towards_positive_x(tilt):
    """u = x cos + z sin in the image, z counted from the middle."""
    image = project(gaussian((41, 4, 96), (29.0, 2.0, 48.0), 2.0), [tilt])[0].numpy()
    places = np.linspace(0, 96 * math.cos(math.radians(tilt)), 400, endpoint=False)
    profile = image_line(image, 96, tilt, places)
    expected = 48 * math.cos(math.radians(tilt)) + (29 - 20) * math.sin(math.radians(tilt))
    assert (profile * places).sum() / profile.sum() == pytest.approx(expected, abs=0.02)


def test_frequencies_are_those_of_the_image():
    """At 60 degrees an image is half as wide: its frequencies are twice as high."""
    squared = image_frequencies((5, 10, 16), 8.0, [0.0, 60.0])
    assert squared[0, 0, 8].sqrt().item() == pytest.approx(0.5 / 8)
    assert squared[1, 0, 4].sqrt().item() == pytest.approx(0.5 / 8)
    assert squared[1, 3, 2].item() == pytest.approx((0.3 / 8) ** 2 + (0.25 / 8) ** 2)
    assert squared[0, 5, 0].sqrt().item() == pytest.approx(0.5 / 8)  # the Nyquist row


# --- the weights


def test_an_image_counts_for_the_angle_that_it_stands_for():
    """Half the way to each neighbor; the order does not matter. At kx = 1/4 the ramp is 1/4."""
    tilts = [20.0, -10.0, 0.0, 40.0]
    shares = [20.0, 10.0, 15.0, 20.0]
    weights = back_projection_weights(40, tilts)[:, 10]
    expected = [
        0.25 * math.radians(share) / math.cos(math.radians(tilt)) ** 2
        for share, tilt in zip(shares, tilts, strict=True)
    ]
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


@pytest.mark.parametrize("width", [64, 63])
def test_weights_end_where_the_image_ends(width):
    weights = back_projection_weights(width, [0.0, 60.0])
    kx = torch.fft.rfftfreq(width)
    assert torch.equal(weights[0] > 0, kx >= 0)
    assert torch.equal(weights[1] > 0, kx <= 0.25)
    assert 0 < weights[0, 0] < weights[0, 1]  # the mean gray value is faint, but there


# --- both together


@pytest.mark.parametrize("shape", [(32, 33, 288), (31, 32, 289)])
def test_back_projection_of_all_angles_returns_the_object(shape):
    """Compared within the object's support, as subtomograms are: around it lie the streaks of a tilt series with steps.

    The slab is so wide that at 85 degrees, the steepest tilt, the object's copies left and right throw no streak on it. The
    last 5 degrees are no tilt (and kx = 0 is one column of them, which the ramp takes): the first comparison leaves this wedge out.
    """
    tilts = np.arange(-85.0, 85.5, 2.0).tolist()
    offsets = [axis - center for axis, center in zip(np.indices(shape), (15, 16, 144), strict=True)]
    radius = np.sqrt(sum(np.square(offset) for offset in offsets))
    volume = (numpy_generator(0, "object").standard_normal(shape) * (radius < 11)).astype(np.float32)
    back = back_project(project(torch.from_numpy(volume), tilts), shape, tilts)
    support = torch.from_numpy(1 / (1 + np.exp((radius - 13) / 0.7))).float()
    box = (slice(0, 31), slice(0, 32), slice(128, 160))
    object_, again = torch.from_numpy(volume)[box], (back * support)[box]
    to_nyquist = fourier_shell_correlation(
        object_, again, missing_wedge_mask(object_.shape, (-85.0, 85.0))[..., :17].clone()
    )
    shells = int(0.8 * (len(to_nyquist) - 1)) + 1
    assert to_nyquist[:shells].min() > 0.98
    assert fourier_shell_correlation(object_, again)[:shells].min() > 0.95  # with the wedge


def test_back_projection_of_all_angles_returns_the_grey_values():
    shape, tilts = (48, 4, 288), np.arange(-85.0, 85.5, 1.0).tolist()
    volume = gaussian((48, 1, 288), (24, 0, 144), 2.5).expand(48, 4, 288).contiguous()
    back = back_project(project(volume, tilts), shape, tilts)
    box = (slice(16, 33), 0, slice(136, 153))
    assert back.max() == pytest.approx(170 / 180, abs=0.02)  # of all directions, 170 degrees
    assert np.corrcoef(back[box].flatten(), volume[box].flatten())[0, 1] > 0.995


@pytest.mark.parametrize("shape", [(16, 6, 24), (15, 7, 25), (1, 4, 16), (2, 5, 33), (24, 1, 70)])
@pytest.mark.parametrize("tilts", [[-45.0, -20.0, 0.0, 3.0, 60.0], [10.0]])
def test_the_two_steps_are_one_transfer_function(shape, tilts):
    """On a volume padded with nothing to twice its depth; any sizes, the Nyquist coefficients of even widths too."""
    volume = torch.randn(shape, generator=torch_generator(0, "volume"))
    depth, height, width = shape
    padded = torch.cat([volume, torch.zeros_like(volume)])
    spectrum = torch.fft.rfftn(padded) * transfer_function(shape, tilts)[:, None, :]
    expected = torch.fft.irfftn(spectrum, s=(2 * depth, height, width))[:depth]
    actual = back_project(project(volume, tilts), shape, tilts)
    torch.testing.assert_close(actual, expected, rtol=0, atol=3e-6 * float(expected.abs().max()))


def explicit(volume: np.ndarray, tilts_degrees: np.ndarray, step_degrees: float) -> np.ndarray:
    """Project and back-project in real space: turn and sum, ramp on a long line, interpolate. The tilt axis is y."""
    depth, height, width = volume.shape
    line = np.arange(-256, 256)
    result = np.zeros_like(volume)
    z, x = np.indices((depth, width))
    z, x = z - (depth - 1) / 2, x - (width - 1) / 2
    across, along = np.meshgrid(line, np.arange(-40, 41))
    for tilt in np.radians(tilts_degrees):
        cosine, sine = math.cos(tilt), math.sin(tilt)
        beam = [across * sine + along * cosine + (depth - 1) / 2, across * cosine - along * sine + (width - 1) / 2]
        for row in range(height):
            image = map_coordinates(volume[:, row], beam, order=3).sum(axis=0)
            filtered = np.fft.ifft(np.fft.fft(image) * np.abs(np.fft.fftfreq(len(line)))).real
            place = x * cosine + z * sine + 256
            result[:, row] += map_coordinates(filtered, [place], order=1) * np.radians(step_degrees)
    return result


@pytest.mark.parametrize(("lowest", "highest", "step"), [(-45, 45, 3), (-20, 62, 4)])
def test_it_is_what_turning_summing_and_interpolating_gives(lowest, highest, step):
    shape, random = (32, 8, 128), numpy_generator(0, "blobs")
    volume = np.zeros(shape)
    for _ in range(12):
        center = random.uniform((6, 1, 50), (25, 7, 78))
        volume += random.uniform(0.5, 1) * gaussian(shape, center, random.uniform(1.5, 2.5)).numpy()
    tilts = np.arange(lowest, highest + 0.5, step)
    long = explicit(volume, tilts, step).ravel()
    short = back_project(project(torch.from_numpy(volume).float(), tilts.tolist()), shape, tilts.tolist())
    short = short.numpy().ravel()
    assert np.corrcoef(short, long)[0, 1] > 0.998
    assert short @ long / (long @ long) == pytest.approx(1.02, abs=0.02)  # linear interpolation blurs a little


def test_power_of_a_back_projection_of_noise_lies_in_the_measured_wedge():
    shape, tilts = (64, 8, 96), np.arange(-20.0, 50.5, 2.0).tolist()
    noise = torch.randn(shape, generator=torch_generator(0, "noise"))
    back = back_project(project(noise, tilts), shape, tilts)
    power = torch.fft.fftn(back * torch.hann_window(64, periodic=False)[:, None, None]).abs().square()
    power *= torch.fft.fftfreq(96).abs() > 0.08
    measured = missing_wedge_mask(shape, (-22.0, 52.0))
    assert power[measured].sum() > 0.98 * power.sum()
    mirrored = missing_wedge_mask(shape, (-52.0, 22.0))
    assert power[mirrored].sum() < 0.8 * power.sum()


def test_particles_are_drawn_out_along_the_beam_and_not_along_the_tilt_axis():
    tilts = np.arange(-45.0, 46.0, 3.0).tolist()
    image = back_project(project(gaussian((48, 48, 48), (24, 24, 24), 2.5), tilts), (48, 48, 48), tilts)

    def half_width(profile: torch.Tensor) -> int:
        return int((profile > profile.max() / 2).sum())

    along_z, along_y, along_x = image[:, 24, 24], image[24, :, 24], image[24, 24, :]
    assert half_width(along_z) >= 1.5 * half_width(along_y)
    assert half_width(along_y) == pytest.approx(2.355 * 2.5, abs=1)
    assert half_width(along_x) <= half_width(along_y)


@given(dz=st.integers(-5, 5), dy=st.integers(-30, 30), dx=st.integers(-30, 30))
def test_the_reconstruction_moves_with_the_specimen(dz, dy, dx):
    """Sideways around the border, along the beam as far as the slab goes: there is no border along z but that of the array."""
    shape, tilts = (24, 12, 40), [-45.0, -9.0, 0.0, 12.0, 52.0]
    near, moved = torch.zeros(shape), torch.zeros(shape)
    grain = torch.randn((6, 12, 40), generator=torch_generator(0, "grain"))
    near[9:15] = grain
    moved[9 + dz : 15 + dz] = grain.roll((dy, dx), (1, 2))
    first, second = (back_project(project(volume, tilts), shape, tilts) for volume in (near, moved))
    first = first.roll((dy, dx), (1, 2))
    kept = slice(max(dz, 0), 24 + min(dz, 0))
    torch.testing.assert_close(
        second[kept], first[max(-dz, 0) : 24 - max(dz, 0)], rtol=0, atol=1e-5 * float(first.abs().max())
    )


def test_nothing_wraps_along_the_beam():
    """What lies below stays the same when nothing is added above."""
    tilts = [-45.0, 0.0, 30.0, 50.0]
    near_bottom = gaussian((24, 16, 48), (2, 8, 10), 1.5)
    image = back_project(project(near_bottom, tilts), (24, 16, 48), tilts)
    deeper = torch.cat([near_bottom, torch.zeros(30, 16, 48)])
    deep_image = back_project(project(deeper, tilts), tuple(deeper.shape), tilts)
    torch.testing.assert_close(deep_image[:24], image, rtol=0, atol=1e-5 * float(image.abs().max()))


def test_more_columns_than_are_worked_on_at_a_time_change_nothing():
    """150 voxels are 76 frequencies: three blocks, the last one short."""
    volume = torch.randn((6, 4, 150), generator=torch_generator(0, "volume"))
    images = project(volume, [25.0])
    spectrum = torch.fft.rfftn(volume, dim=(1, 2))
    kx = torch.fft.rfftfreq(150)
    height = torch.arange(6)[:, None] - 2.5
    phase = torch.exp(-2j * math.pi * math.tan(math.radians(25.0)) * height * kx)
    expected = (spectrum * phase[:, None]).sum(0) * (kx <= 0.5 * math.cos(math.radians(25.0)))
    torch.testing.assert_close(images[0], expected, rtol=0, atol=1e-4)


def gains(tilts, width=64, depth=32, **settings) -> np.ndarray:
    return weighting_gain((depth, 8, width), 10.0, tilts, CorrectionSettings(**settings)).numpy()


def test_a_ramp_is_left_alone_until_it_levels_off():
    assert (gains([0.0, 40.0]) == 1).all()
    kx = np.fft.rfftfreq(64)[1:]
    levels = gains([0.0], level_off_angstrom=50.0, level_off=1.0)[0, 1:]  # 0.2 cycles per voxel of 10 A
    np.testing.assert_allclose(kx * levels, np.minimum(kx, 0.2), rtol=1e-12)
    half = gains([0.0], level_off_angstrom=50.0, level_off=0.5)[0, 1:]
    np.testing.assert_allclose(half, np.sqrt(levels), rtol=1e-12)


def test_the_exact_filter_counts_the_tilts_that_overlap():
    """Where no other tilt overlaps, an image has weight 1, where all of n do, nearly 1 / n; in between it is the ramp."""
    tilts = np.arange(-45.0, 46.0, 3.0)
    depth, width = 256, 4096
    share, middle = math.radians(3), len(tilts) // 2
    kx = np.fft.rfftfreq(width)
    weight = (
        gains(tilts.tolist(), width=width, depth=depth, weighting="exact")[middle]
        * depth
        * share
        * kx.clip(0.25 / width)
    )
    alone = kx * depth * math.sin(share) > 1
    assert alone.any()
    np.testing.assert_allclose(weight[alone], 1, rtol=1e-6)
    assert weight[0] == pytest.approx(1 / len(tilts), rel=0.01)
    ramp = (kx > 0.01) & (kx < 0.03)
    np.testing.assert_allclose(weight[ramp] / (kx[ramp] * depth * share), 1, atol=0.1)


def test_many_iterations_of_sirt_are_the_ramp():
    few, many = (gains([0.0], weighting="sirt", sirt_iterations=count)[0, 1:] for count in (5, 10_000))
    np.testing.assert_allclose(many, 1, atol=1e-9)
    assert (np.diff(few) < 0).all()
    kx = np.fft.rfftfreq(64)[-1]
    assert few[-1] == pytest.approx(1 - (1 - 0.00195 / kx) ** 5)
