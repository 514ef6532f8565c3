"""What central slices of subtomograms look like, in curves that can be compared where the voxels of one side are not at hand.

The definitions are those of the curves that are exchanged for the CZII data (cycles and rings are those of 64 voxels; other
boxes are measured at the same cycles per voxel, and their power is brought to the scale of 64):

- A subtomogram's three slices are z-scored together. For spectra the mean of each slice is taken off and its edges are faded
  out (Hann). Power is averaged over subtomograms before the logarithm.
- Spectra: rings of one cycle, by the whole part of the radius, 1 to 30.
- Sectors: within 20 degrees of an axis of a plane, rings of 4 from 4 to 32.
- Wedge: XZ, between 4 and 27 cycles (both left out), by angle to kx in bins of 5 degrees, over the mean of the first three.
- Skew and excess kurtosis of the three slices, quantiles and profiles of XY: measured of each subtomogram, then averaged.
- Background: the 60 % of the voxels of XY where the slice, smoothed by a Gaussian of 3 voxels, is brightest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float, Int64
from scipy import ndimage

from frazil.core.errors import ShapeError
from frazil.core.records import same_voxel_size
from frazil.core.seeds import numpy_generator
from frazil.core.slices import DIRECTIONS, QUANTILES_PERCENT, SLICE_PLANES, Numbers, SliceCurves, SliceSet

_FREQUENCIES, _SECTOR_RINGS, _WEDGE_BINS = 30, 7, 18
_RADII_VOXEL = 20
_COMPARED_CYCLES_PER_VOXEL = 0.441  # the largest deviations up to here; beyond, corners and rounding
_SMOOTHING_VOXEL, _DARK_SHARE = 3.0, 0.4
_HALVINGS = 100


@dataclass(frozen=True)
class SliceMeasurements:
    """The numbers of each of `n` subtomograms, all of which are averaged: power by region, moments, quantiles, profiles.

    Parameters
    ----------
    rings, sectors : power by plane and frequency, and by plane, axis (columns, rows) and ring.
    moments : skew and excess kurtosis; of the background skew, excess kurtosis, standard deviation.
    """

    labels: tuple[str, ...]
    voxel_size_angstrom: float
    edge_voxel: int
    rings: Float[np.ndarray, "n 3 frequencies"]
    sectors: Float[np.ndarray, "n 3 2 rings"]
    wedge: Float[np.ndarray, "n angles"]
    moments: Float[np.ndarray, "n 5"]
    quantiles: Float[np.ndarray, "n quantiles"]
    profiles: Float[np.ndarray, "n radii"]

    def __len__(self) -> int:
        return len(self.labels)

    def curves(
        self, rows: Iterable[int] | None = None, *, class_weights: Mapping[str, float] | None = None
    ) -> SliceCurves:
        """Return the curves of these subtomograms, of all by default.

        With `class_weights` each class counts by its weight, however many there are of it (a class without one counts
        nothing): spectra depend on the mixture of classes. None lets all subtomograms count alike.
        """
        taken = np.arange(len(self)) if rows is None else np.array(list(rows))
        labels = np.asarray(self.labels)[taken]
        weights = _weights(labels, class_weights)

        def mean(values: Float[np.ndarray, "n ..."]) -> np.ndarray:
            return np.asarray(np.average(values[taken], axis=0, weights=weights))

        sectors, wedge = _log10(mean(self.sectors)), mean(self.wedge)
        # rows of XY, XZ, YZ are y, z, z; columns x, x, y
        by_direction = [sectors[plane, axis] for plane, axis in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (2, 0))]
        skew, kurtosis, background_skew, background_kurtosis, background_std = mean(self.moments).tolist()
        profiles = self.profiles[taken]
        return SliceCurves(
            voxel_size_angstrom=self.voxel_size_angstrom,
            cycles_per_voxel=tuple((np.arange(1, self.rings.shape[2] + 1) / self.edge_voxel).tolist()),
            log10_power=tuple(_numbers(curve) for curve in _log10(mean(self.rings))),
            wedge_angle_degrees=tuple(range(0, 90, 5)),
            wedge_log10_power=_numbers(_log10(wedge / np.nanmean(wedge[:3]))),
            sectors={name: _numbers(curve) for name, curve in zip(DIRECTIONS, by_direction, strict=True)},
            skew=skew,
            excess_kurtosis=kurtosis,
            background_skew=background_skew,
            background_excess_kurtosis=background_kurtosis,
            background_std=background_std,
            quantiles=tuple(mean(self.quantiles).tolist()),
            radial_profile={
                str(label): _numbers(profiles[labels == label].mean(axis=0)) for label in sorted(set(labels))
            },
            subtomograms=len(taken),
            per_class={str(label): int((labels == label).sum()) for label in sorted(set(labels))},
        )


def measure_slices(subtomograms: SliceSet) -> SliceMeasurements:
    """Measure every subtomogram of a set.

    Raises
    ------
    ShapeError : a subtomogram has constant gray values.
    """
    values = subtomograms.slices.astype(np.float64)
    count, _, edge, _ = values.shape
    values -= values.mean(axis=(1, 2, 3), keepdims=True)
    std = values.std(axis=(1, 2, 3), keepdims=True)
    if not (std > 0).all():
        row = int(np.flatnonzero(~(std > 0))[0])
        raise ShapeError(f"subtomogram {row} has constant gray values; leave it out")
    values /= std
    window = np.multiply.outer(np.hanning(edge), np.hanning(edge))
    scale = np.square(np.square(np.hanning(64)).sum() / np.square(np.hanning(edge)).sum())  # to the power of 64 voxels
    spectra = scipy.fft.fft2((values - values.mean(axis=(2, 3), keepdims=True)) * window)
    power = scale * np.square(np.abs(spectra)).reshape(count, 3, -1)
    rings, sectors, wedge = _regions(edge)
    distance = _distances_voxel(edge)
    radii = min(_RADII_VOXEL, edge // 2)
    xy = values[:, 0]
    return SliceMeasurements(
        labels=subtomograms.labels,
        voxel_size_angstrom=subtomograms.voxel_size_angstrom,
        edge_voxel=edge,
        rings=power @ rings.T,
        sectors=(power @ sectors.T).reshape(count, 3, 2, _SECTOR_RINGS),
        wedge=power[:, 1] @ wedge.T,
        moments=np.array([_moments(volume) for volume in values]),
        quantiles=np.quantile(xy, np.array(QUANTILES_PERCENT) / 100, axis=(1, 2)).T,
        profiles=np.stack([xy[:, distance == radius].mean(axis=1) for radius in range(radii)], axis=1),
    )


def curve_distances(of: SliceCurves, to: SliceCurves) -> dict[str, float]:
    """Return how far the first curves are from the others, by name; NaN where one of them lacks a number.

    ``spectrum`` (dex) is the mean over frequencies of the absolute difference of the mean over planes; ``spectrum XY`` ... and
    ``sectors`` the largest absolute difference, up to 0.44 cycles per voxel; ``wedge`` the mean absolute difference. ``skew``
    ... ``quantile 99.9 %`` are differences with their sign. ``profile`` is the mean over the common classes of the Pearson
    correlation of the radial profiles, ``profile LABEL`` that of one.

    Raises
    ------
    ShapeError : voxel sizes differ.
    """
    if not same_voxel_size(of.voxel_size_angstrom, to.voxel_size_angstrom):
        raise ShapeError(
            f"curves of voxels of {of.voxel_size_angstrom:g} A cannot be compared with those of {to.voxel_size_angstrom:g} A; "
            "measure both at one voxel size"
        )
    at = np.asarray(to.cycles_per_voxel)
    power = [np.interp(at, of.cycles_per_voxel, _floats(curve), np.nan, np.nan) for curve in of.log10_power]
    difference = power - _floats(to.log10_power)
    compared = at < _COMPARED_CYCLES_PER_VOXEL
    sectors = _floats([of.sectors[name] for name in DIRECTIONS]) - _floats([to.sectors[name] for name in DIRECTIONS])
    found = {"spectrum": _over(np.mean, np.abs(difference.mean(axis=0)))}
    for plane, curve in zip(SLICE_PLANES, difference, strict=True):
        found[f"spectrum {plane}"] = _over(np.max, np.abs(curve[compared]))
    found["sectors"] = _over(np.max, np.abs(sectors))
    found["wedge"] = _over(np.mean, np.abs(_floats(of.wedge_log10_power) - _floats(to.wedge_log10_power)))
    there = grey_values(to)
    found |= {name: value - there[name] for name, value in grey_values(of).items()}
    common = [label for label in to.radial_profile if label in of.radial_profile]
    profiles = {label: _correlation(of.radial_profile[label], to.radial_profile[label]) for label in common}
    found["profile"] = _over(np.mean, np.array(list(profiles.values())))
    return found | {f"profile {label}": value for label, value in profiles.items()}


def grey_values(curves: SliceCurves) -> dict[str, float]:
    """Return the moments and quantiles of curves by name, as in `curve_distances`."""
    names = ("skew", "excess_kurtosis", "background_skew", "background_excess_kurtosis", "background_std")
    quantiles = zip(QUANTILES_PERCENT, curves.quantiles, strict=True)
    return {name.replace("_", " "): getattr(curves, name) for name in names} | {
        f"quantile {percent:g} %": value for percent, value in quantiles
    }


def halves_floor(real: SliceMeasurements, count: int | None = None) -> dict[str, float]:
    """Return the mean distances (absolute, but of profiles) of one half of subtomograms from the other half.

    What a perfect simulation of as many would reach. Over a hundred halvings drawn at random, always the same; of `count` of
    them, of all by default. Nothing for a single one.
    """
    random = numpy_generator(0, "halves of slices", len(real))
    count = min(count or len(real), len(real))
    drawn = [random.permutation(len(real))[:count] for _ in range(_HALVINGS if count > 1 else 0)]
    return _mean_distances(
        [curve_distances(real.curves(rows[: count // 2]), real.curves(rows[count // 2 :])) for rows in drawn]
    )


def _mean_distances(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in each for name in one)
    values = {name: np.array([one.get(name, np.nan) for one in each]) for name in names}
    return {name: _over(np.mean, own if name.startswith("profile") else np.abs(own)) for name, own in values.items()}


def _weights(labels: np.ndarray, class_weights: Mapping[str, float] | None) -> Float[np.ndarray, "n"]:
    """Return the weight of each subtomogram; all alike where none of the classes has one."""
    if class_weights is None or not any(class_weights.get(label) for label in labels):
        return np.ones(len(labels))
    return np.array([class_weights.get(label, 0.0) / np.count_nonzero(labels == label) for label in labels])


@functools.lru_cache(maxsize=8)
def _regions(edge: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights with which coefficients (rows, in FFT order) make rings, sectors and wedge bins; NaN for empty ones."""
    cycles = np.rint(np.fft.fftfreq(edge) * edge)
    row, column = np.meshgrid(cycles, cycles, indexing="ij")
    radius = np.hypot(row, column).ravel()
    angle = np.degrees(np.arctan2(np.abs(row), np.abs(column))).ravel()
    of_64 = radius * 64 / edge
    rings = [np.floor(radius) == k for k in range(1, _FREQUENCIES * edge // 64 + 1)]
    sectors = [
        near & (of_64 >= 4 + 4 * ring) & (of_64 < 8 + 4 * ring)
        for near in (angle < 20, angle > 70)
        for ring in range(_SECTOR_RINGS)
    ]
    annulus = (of_64 > 4) & (of_64 < 27)
    wedge = [annulus & (angle >= 5 * k) & (angle < 5 * k + 5) for k in range(_WEDGE_BINS)]
    weights = tuple(_row_means(np.array(masks)) for masks in (rings, sectors, wedge))
    return weights[0], weights[1], weights[2]


def _row_means(masks: np.ndarray) -> Float[np.ndarray, "regions coefficients"]:
    counts = masks.sum(axis=1, keepdims=True)
    weights: np.ndarray = np.divide(masks, counts, out=np.full(masks.shape, np.nan), where=counts > 0)
    weights.setflags(write=False)  # shared by all callers
    return weights


@functools.lru_cache(maxsize=8)
def _distances_voxel(edge: int) -> Int64[np.ndarray, "edge edge"]:
    axis = np.arange(edge) - edge // 2
    whole = np.floor(np.hypot(axis[:, None], axis)).astype(np.int64)
    whole.setflags(write=False)  # shared by all callers
    return whole


def _moments(slices: Float[np.ndarray, "3 edge edge"]) -> tuple[float, ...]:
    smooth = ndimage.gaussian_filter(slices[0], _SMOOTHING_VOXEL)
    background = slices[0][smooth > np.quantile(smooth, _DARK_SHARE)]
    return (*_skew_and_kurtosis(slices), *_skew_and_kurtosis(background), float(background.std()))


def _skew_and_kurtosis(values: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Return skew and excess kurtosis; 0 of what is constant, such as an empty background."""
    deviation = values - values.mean()
    square = np.square(deviation)
    variance = square.mean()
    if not variance > 1e-20:
        return 0.0, 0.0
    return float((square * deviation).mean() / variance**1.5), float(np.square(square).mean() / variance**2 - 3)


def _correlation(one: Numbers, other: Numbers) -> float:
    """Return the correlation of two profiles as far as both go."""
    length = min(len(one), len(other))
    pair = _floats([one[:length], other[:length]])
    return float(np.corrcoef(pair)[0, 1]) if length > 1 and (pair.std(axis=1) > 0).all() else float("nan")


def _over(how: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> float:
    """Apply a function to the numbers that are known; NaN if none is."""
    known = values[np.isfinite(values)]
    return float(how(known)) if known.size else float("nan")


def _floats(numbers: object) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)


def _numbers(values: np.ndarray) -> Numbers:
    return tuple(float(value) if np.isfinite(value) else None for value in values)


def _log10(power: np.ndarray) -> np.ndarray:
    return np.asarray(np.log10(np.maximum(power, 1e-30)))
