"""The microscope: tilt series of a specimen, and their reconstruction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from frazil.core.settings import Settings
from frazil.simulation.microscope.optics import (
    CorrectionSettings,
    OpticsSettings,
    contrast_transfer,
    correction_filter,
    damage,
    draw_defocus_um,
    interaction_radian_per_volt_angstrom,
    noise_std,
)
from frazil.simulation.microscope.projection import back_project, image_frequencies, project, weighting_gain
from frazil.simulation.microscope.tilts import TiltSeries, TiltSettings, acquire
from frazil.simulation.structures.structure import VOLT_ANGSTROM3_PER_DALTON


class MicroscopeSettings(Settings):
    """How the specimen is imaged and reconstructed."""

    tilts: TiltSettings = TiltSettings()
    optics: OpticsSettings = OpticsSettings()
    correction: CorrectionSettings = CorrectionSettings()


@dataclass(frozen=True)
class Acquisition:
    """A reconstruction, and how its tilt series was taken.

    Signal and noise add up to the weighted back-projection, matter dark, in units of the image contrast that a voxel's edge of
    path makes. From the even frames of every tilt alone it is signal + noise + `noise_between`, from the odd ones signal + noise
    - `noise_between`: each has twice the variance of the noise, and they are independent. None unless it was asked for.
    """

    signal: Float[np.ndarray, "z y x"]
    noise: Float[np.ndarray, "z y x"]
    series: TiltSeries
    defocus_um: Float[np.ndarray, "n"]
    noise_between: Float[np.ndarray, "z y x"] | None = None


def take_tomogram(
    density: Float[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    settings: MicroscopeSettings,
    generator: np.random.Generator,
    *,
    ice_thickness_angstrom: float,
    beside_angstrom: float = 0.0,
    halves: np.random.Generator | None = None,
) -> Acquisition:
    """Take a tilt series of a specimen and reconstruct it by weighted back-projection.

    The mass density over the ice, dalton per cubic angstrom, is periodic along y and x. Something of width `beside_angstrom` is
    put between opposite borders, and removed in the end (`close_sideways`), so that a particle cut at one border does not end
    abruptly at the other. What even and odd frames differ in is drawn from `halves`.
    """
    series = acquire(settings.tilts, generator)
    defocus_um = draw_defocus_um(settings.optics, len(series.angles_degrees), generator)
    _, height, width = density.shape
    if beside_angstrom > 0:
        density = close_sideways(density, math.ceil(beside_angstrom / voxel_size_angstrom))
    shape_voxel = density.shape
    signal_filter, noise_filter = image_filters(shape_voxel, voxel_size_angstrom, series, defocus_um, settings)
    signal = project(torch.from_numpy(density), series.true_angles_degrees.tolist()) * signal_filter
    del density  # it is large

    def reconstructed(images: Complex[Tensor, "tilt ky kx"]) -> Float[np.ndarray, "z y x"]:
        volume = back_project(images, shape_voxel, series.angles_degrees.tolist()).numpy()
        return np.ascontiguousarray(volume[:, :height, :width])

    def noise(random: np.random.Generator) -> Float[np.ndarray, "z y x"]:
        images = image_noise(shape_voxel, voxel_size_angstrom, ice_thickness_angstrom, series, settings.optics, random)
        return reconstructed(images.mul_(noise_filter))

    return Acquisition(
        reconstructed(signal), noise(generator), series, defocus_um, None if halves is None else noise(halves)
    )


def close_sideways(density: Float[np.ndarray, "z y x"], margin_voxel: int) -> Float[np.ndarray, "z Y X"]:
    """Return a volume that is periodic along y and x without a seam.

    Behind the last voxel, its mirror image fades into the mirror image of what precedes the first. Edges grow by at least
    `margin_voxel`, to a size that is fast to transform, and by at most their own length.
    """
    for axis in (1, 2):
        edge = density.shape[axis]
        added = min(scipy.fft.next_fast_len(edge + margin_voxel, real=True) - edge, edge)
        fading = np.sin(np.linspace(0, np.pi / 2, added + 2, dtype=np.float32)[1:-1]) ** 2
        along = (slice(None),) * axis
        mirrored = np.flip(density, axis)
        after, before = mirrored[(*along, slice(added))], mirrored[(*along, slice(edge - added, None))]
        share = fading.reshape((-1, 1) if axis == 1 else -1)
        density = np.concatenate([density, after * (1 - share) + before * share], axis=axis)
    return density


def image_filters(
    shape_voxel: Sequence[int],
    voxel_size_angstrom: float,
    series: TiltSeries,
    defocus_um: Float[np.ndarray, "n"],
    settings: MicroscopeSettings,
) -> tuple[Complex[Tensor, "tilt ky kx"], Float[Tensor, "tilt ky kx"]]:
    """Return the filters that turn projections (`project`) into corrected images, and noise into corrected noise."""
    optics = settings.optics
    frequency_squared = image_frequencies(shape_voxel, voxel_size_angstrom, series.true_angles_degrees.tolist())
    transfer = contrast_transfer(frequency_squared, torch.from_numpy(defocus_um)[:, None, None], optics)
    correction = correction_filter(transfer, frequency_squared, series, optics, settings.correction)
    tilts_degrees = series.angles_degrees.tolist()
    correction *= weighting_gain(shape_voxel, voxel_size_angstrom, tilts_degrees, settings.correction)[:, None]
    middle = torch.from_numpy(series.dose_before_e_per_angstrom2 + series.dose_e_per_angstrom2 / 2)
    signal = transfer * damage(frequency_squared, middle[:, None, None], optics) * correction
    radian_per_dalton = interaction_radian_per_volt_angstrom(optics.voltage_kv) * VOLT_ANGSTROM3_PER_DALTON
    # A sum over voxels times their edge is the integral along the beam.
    signal *= -2 * optics.contrast * radian_per_dalton * voxel_size_angstrom
    # The shifts that alignment leaves.
    _, height, width = shape_voxel
    shift_y, shift_x = torch.from_numpy(series.shifts_angstrom / voxel_size_angstrom).T[:, :, None, None]
    cosine = torch.from_numpy(np.cos(np.radians(series.true_angles_degrees)))[:, None, None]
    ky = torch.fft.fftfreq(height, dtype=torch.float64)[None, :, None]
    kx = torch.fft.rfftfreq(width, dtype=torch.float64)[None, None, :] / cosine
    phase = -2 * torch.pi * (ky * shift_y + kx * shift_x)
    shifts = torch.polar(torch.ones_like(phase), phase).to(torch.complex64)
    return signal.float() * shifts, correction.float()


def image_noise(
    shape_voxel: Sequence[int],
    voxel_size_angstrom: float,
    ice_thickness_angstrom: float,
    series: TiltSeries,
    optics: OpticsSettings,
    generator: np.random.Generator,
) -> Complex[Tensor, "tilt ky kx"]:
    """Return the Fourier coefficients of the shot noise of every image, white and independent."""
    _, height, width = shape_voxel
    images = torch.empty(len(series.angles_degrees), height, width // 2 + 1, dtype=torch.complex64)
    stds = noise_std(series, voxel_size_angstrom, ice_thickness_angstrom, optics)
    cosines = np.cos(np.radians(series.true_angles_degrees))
    for tilt, std in enumerate(stds * np.sqrt(cosines)):  # a tilted image has fewer pixels in the field of view
        white = torch.from_numpy(generator.standard_normal((height, width), dtype=np.float32))
        images[tilt] = float(std) * torch.fft.rfftn(white)
    return images
