"""Power spectra of pieces cut out of tomograms, and what the missing wedge leaves of them.

A piece does not go on periodically, so every slice is faded out at its edges (Hann window) before it is transformed; without
that, the edges would fill the wedge. Volumes are z-scored first: spectra compare shapes, not units.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft
from jaxtyping import Float, Int64
from scipy import stats

from frazil.core.errors import ShapeError

Plane = Literal["XY", "XZ", "YZ"]
PLANES: tuple[Plane, ...] = ("XY", "XZ", "YZ")

CurveName = Literal["XY", "XZ", "YZ", "wedge"]
CURVES: tuple[CurveName, ...] = (*PLANES, "wedge")

_SLICE_AXES = {"XY": (0, 1, 2), "XZ": (1, 0, 2), "YZ": (2, 0, 1)}  # the axis across the plane first
_LOWEST, _HIGHEST = 0.03, 0.45  # cycles per voxel: below, a piece has too few coefficients; above, corners and aliasing
_RINGS = 8
_LEVEL_DEGREES = 15.0  # power is measured against what lies this near to the kx axis


@dataclass(frozen=True)
class Curve:
    """A curve of log10 power at spatial frequencies in cycles per voxel, or angles in degrees; NaN without coefficients."""

    at: Float[np.ndarray, "bins"]
    log_power: Float[np.ndarray, "bins"]


@dataclass(frozen=True)
class Appearance:
    """What a piece of a tomogram looks like, in numbers that do not depend on what is where.

    `spectra` are log power by spatial frequency in each plane; `wedge` is log power by angle to kx in the kz-kx plane, over that
    near kx; skew and kurtosis (over that of a Gaussian) are of the gray values.
    """

    spectra: dict[Plane, Curve]
    wedge: Curve
    skew: float
    kurtosis: float

    def curve(self, name: CurveName) -> Curve:
        """Return the spectrum of a plane, or the wedge profile."""
        return self.wedge if name == "wedge" else self.spectra[name]


def appearance(volume: Float[np.ndarray, "z y x"]) -> Appearance:
    """Measure a piece of a tomogram."""
    if min(volume.shape) < 16:
        raise ShapeError(
            f"a piece of {volume.shape} voxels is too small for a spectrum; take at least 16 along each axis"
        )
    values = volume.astype(np.float64)
    values -= values.mean()
    if not values.std() > 0:
        raise ShapeError(f"a piece of {volume.shape} voxels has constant gray values; take one with contrast")
    values /= values.std()
    power = {plane: slice_power(values, plane) for plane in PLANES}
    return Appearance(
        spectra={plane: radial_curve(power[plane]) for plane in PLANES},
        wedge=wedge_curve(power["XZ"]),
        skew=float(stats.skew(values, axis=None)),
        kurtosis=float(stats.kurtosis(values, axis=None)),
    )


def slice_power(volume: Float[np.ndarray, "z y x"], plane: Plane) -> Float[np.ndarray, "row column"]:
    """Return the mean power of the slices of a plane, each faded out at its edges; white noise of variance 1 has 1 everywhere.

    In FFT order; rows are y (XY) or z, columns x or (YZ) y.
    """
    slices = volume.transpose(_SLICE_AXES[plane])
    # Without its outermost zeros, so that every voxel counts for something.
    window = np.multiply.outer(*(np.hanning(edge + 2)[1:-1] for edge in slices.shape[1:]))
    spectrum = scipy.fft.fft2(slices * window)
    return np.asarray(np.square(np.abs(spectrum)).mean(axis=0) / np.square(window).sum())


def volume_power(volume: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "kz ky kx"]:
    """Return the power of a volume, faded out at its faces; white noise of variance 1 has 1 everywhere.

    In FFT order and in the precision of the volume.
    """
    z, y, x = (np.hanning(edge + 2)[1:-1].astype(volume.dtype) for edge in volume.shape)
    window = z[:, None, None] * y[:, None] * x
    spectrum = scipy.fft.fftn(volume * window)
    return np.asarray((np.square(spectrum.real) + np.square(spectrum.imag)) / np.square(window).sum())


def radial_curve(power: Float[np.ndarray, "..."], bins: int = 21) -> Curve:
    """Return log power by spatial frequency, in rings (shells in 3D) of equal width between 0.03 and 0.45 cycles per voxel.

    `power` is `(row, column)` or `(kz, ky, kx)`, in FFT order.
    """
    ring = _rings(power.shape, bins)
    counts = np.bincount(ring, minlength=bins + 1)[:bins]
    sums = np.bincount(ring, weights=power.ravel(), minlength=bins + 1)[:bins]
    means = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
    edges = np.linspace(_LOWEST, _HIGHEST, bins + 1)
    return Curve((edges[:-1] + edges[1:]) / 2, _log10(means))


def wedge_curve(power: Float[np.ndarray, "kz kx"], step_degrees: float = 5.0) -> Curve:
    """Return log power by angle to the kx axis, over the power within 15 degrees of it.

    Rings of spatial frequency count alike, so that the strong low frequencies do not hide the others.
    """
    kz, kx = (scipy.fft.fftfreq(edge) for edge in power.shape)
    radius = np.hypot(kz[:, None], kx)
    angle = np.degrees(np.arctan2(np.abs(kz)[:, None], np.abs(kx)))
    edges = np.arange(0, 90 + step_degrees, step_degrees)
    profiles = []
    for lowest, highest in np.lib.stride_tricks.sliding_window_view(np.linspace(0.05, _HIGHEST, _RINGS + 1), 2):
        ring = (radius >= lowest) & (radius < highest)
        level = power[ring & (angle < _LEVEL_DEGREES)]
        if len(level):  # a ring of a small piece can be without coefficients
            profiles.append(_means(power[ring], angle[ring], edges) / level.mean())
    filled = np.isfinite(profiles)
    mean = np.where(filled, profiles, 0).sum(axis=0) / np.maximum(filled.sum(axis=0), 1)
    return Curve((edges[:-1] + edges[1:]) / 2, _log10(np.where(filled.any(axis=0), mean, np.nan)))


def distance_dex(one: Curve, other: Curve) -> float:
    """Return the mean absolute difference of two curves of log10 power."""
    return float(np.nanmean(np.abs(one.log_power - other.log_power)))


def mean_curve(curves: list[Curve]) -> Curve:
    """Return the mean of curves over the same bins."""
    return Curve(curves[0].at, np.mean([curve.log_power for curve in curves], axis=0))


@functools.lru_cache(maxsize=16)
def _rings(shape: tuple[int, ...], bins: int) -> Int64[np.ndarray, "coefficients"]:
    """Return the ring of every coefficient; `bins` where it is in none."""
    axes = np.meshgrid(*(scipy.fft.fftfreq(edge) for edge in shape), indexing="ij", sparse=True)
    radius = np.sqrt(sum(np.square(axis) for axis in axes)).ravel()
    edges = np.linspace(_LOWEST, _HIGHEST, bins + 1)
    ring = np.searchsorted(edges, radius, side="right") - 1
    ring[radius == edges[-1]] = bins - 1
    ring[(radius < edges[0]) | (radius > edges[-1])] = bins
    ring.setflags(write=False)  # shared by all callers
    return ring


def _log10(power: Float[np.ndarray, "bins"]) -> Float[np.ndarray, "bins"]:
    """Return the logarithm; no power at all counts as 1e-30, far below anything that was measured."""
    return np.asarray(np.log10(np.maximum(power, 1e-30)))


def _means(
    values: Float[np.ndarray, "..."], at: Float[np.ndarray, "..."], edges: Float[np.ndarray, "edges"]
) -> Float[np.ndarray, "bins"]:
    """Return the mean of the values in each bin, NaN where there are none."""
    counts, _ = np.histogram(at, edges)
    sums, _ = np.histogram(at, edges, weights=values)
    return np.asarray(np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0))
