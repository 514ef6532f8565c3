"""A stand-in for a denoising network: what DenoisET, cryoCARE and the like make of a reconstruction, in six numbers.

It is not a network, and it knows what a network can only guess: which part of a simulated tomogram is noise. It leaves a share of
the noise, passes frequencies up to a resolution, shrinks faint gray values more than strong ones, and restrains extreme ones, as
regression to the mean does. The last two put a little power into the missing wedge, as is seen in denoised tomograms.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float
from pydantic import Field

from frazil.core.settings import Settings

_MARGIN_VOXEL = 16  # of the low-pass along z, where a tomogram is not periodic


class DenoiserSettings(Settings):
    """How a tomogram is denoised.

    Parameters
    ----------
    noise_left : share of the noise's amplitude that stays.
    resolution_angstrom : where the low-pass ``1 / (1 + (s d)^n)`` has fallen to one half. Its square root is applied before
        and after the gray values are restrained.
    steepness : n of the low-pass.
    shrinkage : gray values x become ``x^3 / (x^2 + tau^2)``; tau in standard deviations of the tomogram, 0 for none.
    dark_saturation, bright_saturation : gray values level off toward these, in standard deviations: networks predict
        rare values too weakly, bright fringes most of all, since matter is dark.
    """

    noise_left: float = Field(0.65, ge=0, le=1)
    resolution_angstrom: float = Field(20.0, gt=0)
    steepness: float = Field(4.0, gt=0)
    shrinkage: float = Field(0.6, ge=0)
    dark_saturation: float = Field(15.0, gt=0)
    bright_saturation: float = Field(5.0, gt=0)


def denoise(
    tomogram: Float[np.ndarray, "z y x"], voxel_size_angstrom: float, settings: DenoiserSettings
) -> Float[np.ndarray, "z y x"]:
    """Return a tomogram after low-pass, shrinkage and saturation, and the low-pass once more, mean 0.

    Its noise must have been scaled by `noise_left` before: only who simulates it knows it.
    """
    tomogram = tomogram - tomogram.mean(dtype=np.float64).astype(np.float32)
    tomogram = _half_low_pass(tomogram, voxel_size_angstrom, settings)
    square = np.square(tomogram)
    square /= max(square.mean(dtype=np.float64), np.finfo(np.float32).tiny)  # zeros stay zeros
    dark, bright = (np.float32(limit**-2) for limit in (settings.dark_saturation, settings.bright_saturation))
    factor = 1 / np.sqrt(1 + square * np.where(tomogram > 0, bright, dark))
    if settings.shrinkage > 0:
        factor *= square / (square + np.float32(settings.shrinkage**2))
    tomogram *= factor
    del square, factor  # they are large
    tomogram = _half_low_pass(tomogram, voxel_size_angstrom, settings)  # bent gray values have overtones
    tomogram -= tomogram.mean(dtype=np.float64).astype(np.float32)
    return tomogram


def low_pass_gain(frequency: Float[np.ndarray, "..."], settings: DenoiserSettings) -> Float[np.ndarray, "..."]:
    """Return the gain of the low-pass at spatial frequencies in 1 / angstrom."""
    with np.errstate(over="ignore"):  # one by infinity is nothing
        return 1 / (1 + (frequency * settings.resolution_angstrom) ** settings.steepness)


def _half_low_pass(
    volume: Float[np.ndarray, "z y x"], voxel_size_angstrom: float, settings: DenoiserSettings
) -> Float[np.ndarray, "z y x"]:
    depth, height, width = volume.shape
    padded = scipy.fft.next_fast_len(depth + 2 * _MARGIN_VOXEL, real=True)
    before = (padded - depth) // 2
    spectrum = scipy.fft.rfftn(
        np.pad(volume, ((before, padded - depth - before), (0, 0), (0, 0)), mode="edge"),
        workers=torch.get_num_threads(),
    )
    kz, ky = (scipy.fft.fftfreq(edge).astype(np.float32) / voxel_size_angstrom for edge in (padded, height))
    kx = scipy.fft.rfftfreq(width).astype(np.float32) / voxel_size_angstrom
    in_plane = ky[:, None] ** 2 + kx**2
    # Plane by plane: a full grid of gains would take the memory of another tomogram.
    for plane, frequency in zip(spectrum, kz, strict=True):
        plane *= np.sqrt(low_pass_gain(np.sqrt(in_plane + frequency**2), settings))
    filtered = scipy.fft.irfftn(spectrum, s=(padded, height, width), workers=torch.get_num_threads(), overwrite_x=True)
    return np.ascontiguousarray(filtered[before : before + depth])
