"""What is measured once of every volume. All physics of a set, and all its intervals, come from these numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Bool, Float, Float32

from frazil.core.records import TiltRange
from frazil.evaluation.metrics.profiles import polar_image
from frazil.evaluation.volumes import VolumeSet
from frazil.volume.spectra import CURVES, PLANES, appearance, radial_curve, volume_power
from frazil.volume.spheres import sphere_profile
from frazil.volume.wedge import missing_wedge_mask

SPECTRA = (*PLANES, "3D")

UNKNOWN_TILT_RANGE_DEGREES: TiltRange = (-45.0, 45.0)
"""Where the range is not known: beyond 50 degrees (with the margin), real CZII tomograms have 2 % of the power at kx or less."""

WEDGE_MARGIN_DEGREES = 5.0  # a box is small: its edges blur those of the wedge

LOWEST_GREY, GREY_WIDTH, GREY_BINS = -20.0, 0.02, 2000
"""Of histograms, in standard deviations of a volume. The darkest voxel of real z-scored boxes is near -13."""


@dataclass(frozen=True)
class Measurements:
    """Numbers of each of `n` volumes.

    Parameters
    ----------
    curves : by name ``XY``, ``XZ``, ``YZ``, ``3D`` (log10 power by spatial frequency) and ``wedge`` (by angle).
    at : where the bins of each curve are.
    autocorrelation : along z, y and x by lag in voxels.
    grey : histograms, see `grey_histogram`.
    skew, kurtosis : of the gray values; kurtosis over that of a Gaussian.
    wedge_power : mean power of the coefficients in the missing wedge over that of the others; NaN where there is no wedge.
    polar : central XY slices by azimuth and radius. Their mean over azimuth is the profile in XY.
    sphere : spherical profiles by radius in voxels.
    """

    labels: np.ndarray
    curves: dict[str, Float[np.ndarray, "n bins"]]
    at: dict[str, Float[np.ndarray, "bins"]]
    autocorrelation: Float[np.ndarray, "n 3 lags"]
    grey: Float32[np.ndarray, "n grey"]
    skew: Float[np.ndarray, "n"]
    kurtosis: Float[np.ndarray, "n"]
    wedge_power: Float[np.ndarray, "n"]
    polar: Float[np.ndarray, "n sectors radii"]
    sphere: Float[np.ndarray, "n shells"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def profile(self) -> Float[np.ndarray, "n radii"]:
        """Profiles in XY by radius."""
        return np.asarray(self.polar.mean(axis=1))

    def of(self, label: str) -> Measurements:
        """Return the numbers of one class."""
        rows = np.flatnonzero(self.labels == label)
        taken: Any = {name: values[rows] for name, values in vars(self).items() if isinstance(values, np.ndarray)}
        return replace(self, **taken, curves={name: values[rows] for name, values in self.curves.items()})


def measure(
    volumes: VolumeSet,
    *,
    tilt_range_degrees: TiltRange | None = None,
    on_volume: Callable[[], None] = lambda: None,
) -> Measurements:
    """Measure every volume of a set, in as many threads as there are cores; `on_volume` is called after each."""
    wedge = _wedge_regions(volumes.volumes.shape[1], tilt_range_degrees or UNKNOWN_TILT_RANGE_DEGREES)
    measured = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for numbers in threads.map(lambda volume: _measure_volume(volume, wedge), volumes.volumes):
            measured.append(numbers)
            on_volume()
    stacked = {name: np.stack([numbers[name] for numbers in measured]) for name in measured[0]}
    curves = {name: stacked.pop(name) for name in (*CURVES, "3D")}
    look = appearance(volumes.volumes[0])
    at: dict[str, np.ndarray] = {name: look.curve(name).at for name in CURVES}
    return Measurements(labels=np.asarray(volumes.labels), curves=curves, at={**at, "3D": at["XY"]}, **stacked)


def axis_autocorrelation(power: Float[np.ndarray, "kz ky kx"]) -> Float[np.ndarray, "3 lags"]:
    """Return the autocorrelation along z, y and x at lags of 0 to a quarter of the (shortest) edge, 1 at lag 0.

    Power (of a volume of mean 0 that was faded out at its faces, `frazil.volume.spectra.volume_power`) and autocorrelation are
    a Fourier pair (Wiener-Khinchin). The fading is divided out by the window's own autocorrelation; up to a quarter of the
    edge, what wraps around has next to no weight in it.
    """
    lags = min(power.shape) // 4 + 1
    rows = []
    for axis, edge in enumerate(power.shape):
        faded = scipy.fft.ifft(power.mean(axis=tuple({0, 1, 2} - {axis}), dtype=np.float64)).real[:lags]
        window = np.hanning(edge + 2)[1:-1]
        overlap = scipy.fft.ifft(np.square(np.abs(scipy.fft.fft(window)))).real[:lags]
        covariance = faded / overlap
        rows.append(covariance / covariance[0])
    return np.asarray(rows)


def grey_histogram(volume: Float[np.ndarray, "z y x"]) -> Float32[np.ndarray, "bins"]:
    """Return the share of the voxels in each bin; what lies beyond the bins counts in the outermost."""
    at = np.clip((volume.ravel() - LOWEST_GREY) / GREY_WIDTH, 0, GREY_BINS - 1).astype(np.int32)
    return (np.bincount(at, minlength=GREY_BINS) / at.size).astype(np.float32)


def wasserstein(one: Float[np.ndarray, "... bins"], other: Float[np.ndarray, "... bins"]) -> Float[np.ndarray, "..."]:
    """Return the Wasserstein distance of order 1 of two histograms: the area between their cumulative distributions.

    In standard deviations of a volume, to within the width of a bin (0.02).
    """
    difference = np.cumsum(one.astype(np.float64) - other, axis=-1)
    return np.asarray(GREY_WIDTH * np.abs(difference).sum(axis=-1))


def density(
    histogram: Float[np.ndarray, "... bins"], width: float = 0.25
) -> tuple[Float[np.ndarray, "merged"], Float[np.ndarray, "... merged"]]:
    """Return gray values between -12 and 6, and the share of the voxels per standard deviation there, to draw."""
    merged = round(width / GREY_WIDTH)
    first, last = (round((edge - LOWEST_GREY) / GREY_WIDTH) for edge in (-12, 6))
    last -= (last - first) % merged
    inside = histogram[..., first:last]
    share = inside.reshape(*inside.shape[:-1], -1, merged).sum(axis=-1) / (merged * GREY_WIDTH)
    return LOWEST_GREY + GREY_WIDTH * (first + merged * (np.arange(share.shape[-1]) + 0.5)), share


def _measure_volume(
    volume: Float32[np.ndarray, "z y x"], wedge: tuple[Bool[np.ndarray, "kz kx"], Bool[np.ndarray, "kz kx"]]
) -> dict[str, np.ndarray]:
    look = appearance(volume)
    power = volume_power(volume - volume.mean(dtype=np.float64).astype(volume.dtype))
    plane = power.mean(axis=1)
    missing, kept = (plane[region] for region in wedge)
    return {
        **{name: look.curve(name).log_power for name in CURVES},
        "3D": radial_curve(power).log_power,
        "autocorrelation": axis_autocorrelation(power),
        "grey": grey_histogram(volume),
        "skew": np.asarray(look.skew),
        "kurtosis": np.asarray(look.kurtosis),
        "wedge_power": np.asarray(missing.mean() / kept.mean() if len(missing) and len(kept) else np.nan),
        "polar": polar_image(volume),
        "sphere": sphere_profile(volume),
    }


def _wedge_regions(
    box_size_voxel: int, tilt_range_degrees: TiltRange
) -> tuple[Bool[np.ndarray, "kz kx"], Bool[np.ndarray, "kz kx"]]:
    """Return the coefficients in the missing wedge, five degrees beyond the outermost tilts, and those measured."""
    shape = (box_size_voxel, 1, box_size_voxel)
    lowest, highest = tilt_range_degrees
    widened = (max(lowest - WEDGE_MARGIN_DEGREES, -90), min(highest + WEDGE_MARGIN_DEGREES, 90))
    frequency = np.fft.fftfreq(box_size_voxel)
    radius = np.hypot(frequency[:, None], frequency)
    ring = (radius >= 0.05) & (radius <= 0.45)  # cycles per voxel, as in `frazil.volume.spectra.wedge_curve`
    measured, near = (missing_wedge_mask(shape, degrees)[:, 0].numpy() for degrees in (tilt_range_degrees, widened))
    return ring & ~near, ring & measured
