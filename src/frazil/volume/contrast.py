"""The contrast of a tomogram, and what gives it another: a linear filter, then a curve of gray values.

Tomograms of one session differ in contrast, with their defocus and thickness. A network that learned from all of them makes every tomogram
like their mean, misses some of the power, and makes the darkest voxels too dark. The filter and the curve make up for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Annotated, Self

import numpy as np
import scipy.fft
from jaxtyping import Float, Int64
from pydantic import Field, FiniteFloat, model_validator
from scipy.ndimage import map_coordinates
from scipy.special import expit

from frazil.core.errors import ShapeError
from frazil.core.records import TiltRange
from frazil.core.settings import Settings, TiltDegrees
from frazil.volume.spectra import volume_power

_SHELLS, _ANGLES = 15, 9
_EDGE_VOXEL, _STEP_VOXEL, _MOST_BLOCKS = 32, 16, 1000
"""Blocks that power is measured in, how far they lie apart, and how many are enough."""

MOST_LOG_GAIN = 0.5
"""A filter that needs more than three times the amplitude, or less than a third, tells of another fault."""

_RANKS = expit(np.linspace(-13.8, 13.8, 25))
"""Shares of voxels that are darker than the gray values of a curve, from one in a million on."""

_Gains = Annotated[
    tuple[Annotated[float, Field(ge=-MOST_LOG_GAIN, le=MOST_LOG_GAIN)], ...],
    Field(min_length=_ANGLES, max_length=_ANGLES),
]


class Contrast(Settings):
    """What a tomogram of a network has to be amplified by to have the contrast of a training tomogram.

    Parameters
    ----------
    tilt_range_degrees : of the training tomogram, which decides where its missing wedge is; None if unknown.
    log_gain : log10 of the amplitude: for each shell of spatial frequencies about 1/32, 2/32, ... 15/32 cycles per voxel, at nine angles
        to kx in the kz-kx plane, 5 to 85 degrees.
    gray, becomes : rising gray values of the filtered tomogram, and what they become; between them linear, beyond them shifted alike.
    """

    tilt_range_degrees: TiltDegrees | None
    log_gain: tuple[_Gains, ...] = Field(min_length=_SHELLS, max_length=_SHELLS)
    gray: tuple[FiniteFloat, ...] = (0.0,)
    becomes: tuple[FiniteFloat, ...] = (0.0,)

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        if len(self.gray) != len(self.becomes) or min(np.diff(self.gray), default=1) <= 0:
            raise ValueError("gray, becomes: need as many values each, those of gray rising")
        return self


def tomogram_power(volume: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "shells angles"]:
    """Return log10 of the power of a tomogram by shell and angle, as in `Contrast`.

    It is the mean over blocks of 32^3 voxels, faded out at their faces (Welch 1967).

    Raises
    ------
    ShapeError : a tomogram that is thinner than such a block.
    """
    if min(volume.shape) < _EDGE_VOXEL:
        shape = ",".join(map(str, volume.shape))
        raise ShapeError(
            f"{shape} voxels (z,y,x): too thin to measure contrast, which takes {_EDGE_VOXEL}; leave it out"
        )
    starts = list(product(*(range(0, edge - _EDGE_VOXEL + 1, _STEP_VOXEL) for edge in volume.shape)))
    starts = starts[:: -(-len(starts) // _MOST_BLOCKS)]
    blocks = [volume[tuple(slice(at, at + _EDGE_VOXEL) for at in start)] for start in starts]
    power = np.mean([volume_power(block.astype(np.float32)) for block in blocks], axis=0)
    bins, count = _bins(), _SHELLS * _ANGLES
    inside = bins < count
    numbers = np.bincount(bins[inside], minlength=count)
    sums = np.bincount(bins[inside], power[inside], count)
    seen = numbers.reshape(_SHELLS, _ANGLES) > 0
    table = np.log10(np.maximum(sums, 1e-12) / np.maximum(numbers, 1)).reshape(_SHELLS, _ANGLES)
    angles = np.arange(_ANGLES)  # the first shells have coefficients at few of them
    return np.stack([np.interp(angles, angles[some], row[some]) for row, some in zip(table, seen, strict=True)])


@cache
def _bins() -> Int64[np.ndarray, "kz ky kx"]:
    """Return the number of the shell and angle of each coefficient of a block; the last number is outside."""
    axis = scipy.fft.fftfreq(_EDGE_VOXEL)
    shell, angle = _places(axis[:, None, None], axis[:, None], axis)
    shell, angle = np.rint(shell).astype(int), np.minimum(angle + 0.5, _ANGLES - 1).astype(int)
    return np.where((shell < 0) | (shell >= _SHELLS), _SHELLS * _ANGLES, shell * _ANGLES + angle)


def _places(
    kz: Float[np.ndarray, "..."], ky: Float[np.ndarray, "..."], kx: Float[np.ndarray, "..."]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return where spatial frequencies (cycles per voxel) lie in the table of gains, between its rows and columns."""
    shell = _EDGE_VOXEL * np.sqrt(kz**2 + ky**2 + kx**2) - 1
    angle = np.degrees(np.arctan2(np.abs(kz), np.abs(kx))) / (90 / _ANGLES) - 0.5
    return shell, np.broadcast_to(angle, shell.shape)


def fit_contrast(
    made: Sequence[Float[np.ndarray, "z y x"]],
    training: Float[np.ndarray, "z y x"],
    tilt_range_degrees: TiltRange | None,
) -> Contrast:
    """Return what gives tomograms that a network made the contrast of a training tomogram, if their layouts are as dense as its own.

    The filter has the gains that its power asks for; the curve brings the gray values to their ranks in it.
    """
    gain = (tomogram_power(training) - np.mean([tomogram_power(volume) for volume in made], axis=0)) / 2
    log_gain = np.clip(gain, -MOST_LOG_GAIN, MOST_LOG_GAIN).round(3)
    gray = np.quantile(np.concatenate([_filtered(volume, log_gain).ravel() for volume in made]), _RANKS)
    return Contrast(
        tilt_range_degrees=tilt_range_degrees,
        log_gain=log_gain.tolist(),
        gray=gray.round(4).tolist(),
        becomes=np.quantile(training, _RANKS).round(4).tolist(),
    )


def with_contrast(volume: Float[np.ndarray, "z y x"], contrast: Contrast) -> Float[np.ndarray, "z y x"]:
    """Return a tomogram with another contrast. Bitwise the same for every number of threads (`scipy.fft.set_workers`)."""
    volume = _filtered(volume, np.array(contrast.log_gain))
    shift = np.subtract(contrast.becomes, contrast.gray)
    for plane in volume:
        plane += np.interp(plane, contrast.gray, shift)
    return volume


def _filtered(
    volume: Float[np.ndarray, "z y x"], log_gain: Float[np.ndarray, "shells angles"]
) -> Float[np.ndarray, "z y x"]:
    margin = _EDGE_VOXEL // 2
    lengths = [scipy.fft.next_fast_len(edge + 2 * margin, real=True) for edge in volume.shape]
    padding = [(margin, length - edge - margin) for length, edge in zip(lengths, volume.shape, strict=True)]
    spectrum = scipy.fft.rfftn(np.pad(volume, padding, mode="symmetric"))
    _amplify(spectrum, log_gain, lengths)
    return scipy.fft.irfftn(spectrum, s=lengths)[tuple(slice(margin, margin + edge) for edge in volume.shape)]


def _amplify(
    spectrum: Float[np.ndarray, "kz ky kx"], log_gain: Float[np.ndarray, "shells angles"], shape: Sequence[int]
) -> None:
    """Multiply the spectrum of a real volume of this shape by gains, plane by plane."""
    ky, kx = scipy.fft.fftfreq(shape[1])[:, None], scipy.fft.rfftfreq(shape[2])
    for plane, kz in zip(spectrum, scipy.fft.fftfreq(shape[0])[:, None, None], strict=True):
        places = np.stack(_places(kz, ky, kx))
        plane *= 10 ** map_coordinates(log_gain, places, order=1, mode="nearest").astype(np.float32)
