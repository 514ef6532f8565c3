"""What is measured once of every volume; all physics of a set, and all its intervals, come from these numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32

from frazil.core.records import TiltRange
from frazil.evaluation.metrics.autocorrelation import axis_autocorrelation
from frazil.evaluation.metrics.intensities import grey_histogram
from frazil.evaluation.metrics.profiles import polar_image, sphere_profile
from frazil.evaluation.volumes import VolumeSet
from frazil.volume.spectra import CURVES, PLANES, appearance, radial_curve, volume_power
from frazil.volume.wedge import missing_wedge_mask

SPECTRA = (*PLANES, "3D")

UNKNOWN_TILT_RANGE_DEGREES: TiltRange = (-45.0, 45.0)
"""Where the range is not known: beyond 50 degrees (with the margin), real CZII tomograms have 2 % of the power at kx or less."""

WEDGE_MARGIN_DEGREES = 5.0  # a box is small: its edges blur those of the wedge
_LOWEST, _HIGHEST = 0.05, 0.45  # cycles per voxel in the kz-kx plane, as in `frazil.volume.spectra.wedge_curve`


@dataclass(frozen=True)
class Measurements:
    """Numbers of each of `n` volumes.

    Parameters
    ----------
    labels : `(n,)` classes.
    curves : by name ``XY``, ``XZ``, ``YZ``, ``3D`` (log10 power by spatial frequency) and ``wedge`` (by angle): `(n, bins)`.
    at : where the bins of each curve are.
    autocorrelation : along z, y and x by lag in voxels.
    grey : histograms of the grey values (`frazil.evaluation.metrics.intensities`).
    skew, kurtosis : of the grey values; kurtosis over that of a Gaussian.
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
        curves = {name: values[rows] for name, values in self.curves.items()}
        names = ("labels", "autocorrelation", "grey", "skew", "kurtosis", "wedge_power", "polar", "sphere")
        return replace(self, curves=curves, **{name: getattr(self, name)[rows] for name in names})

    def relabelled(self, labels: np.ndarray) -> Measurements:
        """Return the same volumes under other labels."""
        return replace(self, labels=labels)


def measure(
    volumes: VolumeSet,
    *,
    tilt_range_degrees: TiltRange | None = None,
    on_volume: Callable[[], None] | None = None,
) -> Measurements:
    """Measure every volume of a set, in as many threads as there are cores.

    Parameters
    ----------
    tilt_range_degrees : lowest and highest tilt; None takes -45 to 45.
    on_volume : called after each volume.

    Raises
    ------
    ShapeError : a box shorter than 16 voxels, or constant grey values.
    """
    wedge = _wedge_regions(volumes.volumes.shape[1], tilt_range_degrees or UNKNOWN_TILT_RANGE_DEGREES)
    measured: list[dict[str, np.ndarray]] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for numbers in threads.map(lambda volume: _measure_volume(volume, wedge), volumes.volumes):
            measured.append(numbers)
            if on_volume:
                on_volume()
    stacked = {name: np.stack([numbers[name] for numbers in measured]) for name in measured[0]}
    curves = {name: stacked.pop(name) for name in (*CURVES, "3D")}
    return Measurements(labels=np.asarray(volumes.labels), curves=curves, at=_positions(volumes.volumes[0]), **stacked)


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


def _positions(volume: Float32[np.ndarray, "z y x"]) -> dict[str, Float[np.ndarray, "bins"]]:
    look = appearance(volume)
    return {**{name: look.curve(name).at for name in CURVES}, "3D": look.curve("XY").at}


def _wedge_regions(
    box_size_voxel: int, tilt_range_degrees: TiltRange
) -> tuple[Bool[np.ndarray, "kz kx"], Bool[np.ndarray, "kz kx"]]:
    """Return the coefficients in the missing wedge, five degrees beyond the outermost tilts, and those measured."""
    shape = (box_size_voxel, 1, box_size_voxel)
    lowest, highest = tilt_range_degrees
    widened = (max(lowest - WEDGE_MARGIN_DEGREES, -90), min(highest + WEDGE_MARGIN_DEGREES, 90))
    frequency = np.fft.fftfreq(box_size_voxel)
    radius = np.hypot(frequency[:, None], frequency)
    ring = (radius >= _LOWEST) & (radius <= _HIGHEST)
    measured, near = (missing_wedge_mask(shape, degrees)[:, 0].numpy() for degrees in (tilt_range_degrees, widened))
    return ring & ~near, ring & measured
