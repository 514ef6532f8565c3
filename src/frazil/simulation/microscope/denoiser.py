"""A stand-in for a denoising network: what DenoisET, cryoCARE and the like make of a reconstruction, in a few numbers.

It is not a network, and it knows what a network can only guess: which part of a simulated tomogram is noise. It leaves a share of
the noise, adds the texture that a network makes up where it knows nothing (most of what denoised tomograms hold in the missing
wedge), passes frequencies up to a resolution that differs along z, y and x, shrinks faint gray values more than strong ones, and
restrains extreme ones, as regression to the mean does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import scipy.fft
import torch
from jaxtyping import Complex, Float
from pydantic import BeforeValidator, Field, PositiveFloat

from frazil.core.settings import Settings
from frazil.simulation.text import split_numbers

_MARGIN_VOXEL = 16  # of the low-pass along z, where a tomogram is not periodic

Resolution = Annotated[
    tuple[PositiveFloat, PositiveFloat, PositiveFloat],
    BeforeValidator(lambda value: (value,) * 3 if isinstance(value, (int, float)) else split_numbers(value)),
]


class DenoiserSettings(Settings):
    """How a tomogram is denoised.

    Parameters
    ----------
    noise_left : share of the noise's amplitude that stays.
    texture : standard deviation of the added texture, in those of the tomogram.
    texture_angstrom : length over which it keeps its value: its power is halved at frequency ``1 / (2 pi texture_angstrom)``.
    resolution_angstrom : zyx, or one number; where the low-pass ``1 / (1 + |s d|^n)`` has fallen to one half, s d taken along
        each axis. Its square root is applied before and after the gray values are restrained.
    steepness : n of the low-pass.
    shrinkage : gray values x become ``x^3 / (x^2 + tau^2)``; tau in standard deviations of the tomogram, 0 for none.
    dark_saturation, bright_saturation : gray values level off towards these, in standard deviations: networks predict
        rare values too weakly, bright fringes most of all, since matter is dark.
    """

    noise_left: float = Field(0.65, ge=0, le=1)
    texture: float = Field(0.0, ge=0)
    texture_angstrom: float = Field(1.0, gt=0)
    resolution_angstrom: Resolution = (20.0, 20.0, 20.0)
    steepness: float = Field(4.0, gt=0)
    shrinkage: float = Field(0.6, ge=0)
    dark_saturation: float = Field(15.0, gt=0)
    bright_saturation: float = Field(5.0, gt=0)


def denoise(
    tomogram: Float[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    settings: DenoiserSettings,
    generator: np.random.Generator,
) -> Float[np.ndarray, "z y x"]:
    """Return a tomogram after texture, low-pass, shrinkage and saturation, and the low-pass once more, mean 0.

    Its noise must have been scaled by `noise_left` before: only who simulates it knows it.
    """
    tomogram = tomogram - tomogram.mean(dtype=np.float64).astype(np.float32)
    tomogram = _low_pass(tomogram, voxel_size_angstrom, settings, generator)
    square = np.square(tomogram)
    square /= max(square.mean(dtype=np.float64), np.finfo(np.float32).tiny)  # zeros stay zeros
    dark, bright = (np.float32(limit**-2) for limit in (settings.dark_saturation, settings.bright_saturation))
    factor = 1 / np.sqrt(1 + square * np.where(tomogram > 0, bright, dark))
    if settings.shrinkage > 0:
        factor *= square / (square + np.float32(settings.shrinkage**2))
    tomogram *= factor
    del square, factor  # they are large
    tomogram = _low_pass(tomogram, voxel_size_angstrom, settings)  # bent gray values have overtones
    tomogram -= tomogram.mean(dtype=np.float64).astype(np.float32)
    return tomogram


def _low_pass(
    volume: Float[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    settings: DenoiserSettings,
    generator: np.random.Generator | None = None,
) -> Float[np.ndarray, "z y x"]:
    """Return the volume after the square root of the low-pass; with a generator, texture is added before."""
    depth, height, width = volume.shape
    padded = scipy.fft.next_fast_len(depth + 2 * _MARGIN_VOXEL, real=True)
    before = (padded - depth) // 2
    spectrum = _transform(np.pad(volume, ((before, padded - depth - before), (0, 0), (0, 0)), mode="edge"))
    if generator is not None and settings.texture > 0:
        texture = _transform(generator.standard_normal((padded, height, width), dtype=np.float32))
        power = 0.0
        for plane, frequency_squared in _planes(texture, width, voxel_size_angstrom, (1, 1, 1)):
            plane /= np.sqrt(1 + frequency_squared * np.float32((2 * np.pi * settings.texture_angstrom) ** 2))
            power += _power(plane)
        texture *= np.float32(settings.texture * np.sqrt(sum(map(_power, spectrum)) / power))
        spectrum += texture
        del texture
    for plane, blurred in _planes(spectrum, width, voxel_size_angstrom, settings.resolution_angstrom):
        plane *= np.sqrt(_gain(blurred, settings.steepness))
    filtered = scipy.fft.irfftn(spectrum, s=(padded, height, width), workers=torch.get_num_threads(), overwrite_x=True)
    return np.ascontiguousarray(filtered[before : before + depth])


def _transform(volume: Float[np.ndarray, "z y x"]) -> Complex[np.ndarray, "kz ky kx"]:
    return np.asarray(scipy.fft.rfftn(volume, workers=torch.get_num_threads(), overwrite_x=True))


def _power(plane: Complex[np.ndarray, "ky kx"]) -> float:
    return float(np.square(plane.real).sum(dtype=np.float64) + np.square(plane.imag).sum(dtype=np.float64))


def _planes(
    spectrum: Complex[np.ndarray, "kz ky kx"],
    width_voxel: int,
    voxel_size_angstrom: float,
    scale: tuple[float, float, float],
) -> Iterator[tuple[Complex[np.ndarray, "ky kx"], Float[np.ndarray, "ky kx"]]]:
    """Yield each plane with its squared frequencies, 1 / angstrom^2, scaled along zyx: a grid would take a tomogram's memory."""
    depth, height, _ = spectrum.shape
    frequencies = (scipy.fft.fftfreq(depth), scipy.fft.fftfreq(height), scipy.fft.rfftfreq(width_voxel))
    kz, ky, kx = (
        np.square(frequency * factor / voxel_size_angstrom).astype(np.float32)
        for frequency, factor in zip(frequencies, scale, strict=True)
    )
    in_plane = ky[:, None] + kx
    for plane, along in zip(spectrum, kz, strict=True):
        yield plane, in_plane + along


def _gain(blurred_squared: Float[np.ndarray, "..."], steepness: float) -> Float[np.ndarray, "..."]:
    """Return the gain of the low-pass at squared frequencies in units of the resolution."""
    with np.errstate(over="ignore"):  # one by infinity is nothing
        return np.asarray(1 / (1 + blurred_squared ** (steepness / 2)))
