"""What a particle of each class looks like: the average of training particles, each turned back by its orientation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import map_coordinates

from frazil.dataset.split import TRAIN
from frazil.dataset.tables import CENTER_VOXEL, ROTATION
from frazil.dataset.tomograms.store import TomogramStore
from frazil.volume.crop import box_start, crop
from frazil.volume.spheres import distances, rotational_average

_MOST_AVERAGED = 500
_MARGIN = 1.25
"""Templates reach this much beyond the largest radius: the halo that defocus makes is part of the looks."""

_EDGE_VOXEL = 3.0
"""Over which a template falls to zero there."""

_NOISE = 1 / 7
"""Halves of the particles whose averages correlate less than that, in a shell of frequencies, have only noise there."""

_EDGE_OF_MATTER = 0.3
"""A particle ends where its average falls to this share of its strongest."""

_LARGEST_MEASURED_VOXEL = 24


@dataclass(frozen=True)
class Averages:
    """Templates `(k, n, n, n)` in spreads of the tomograms, matter positive; radii of all classes.

    `measured_radii` are the classes whose radius was not known before.
    """

    templates: Float32[np.ndarray, "k n n n"]
    radii_angstrom: dict[str, float]
    measured_radii: tuple[str, ...]


def average_particles(store: TomogramStore) -> Averages:
    """Average the training particles of a store whose radii are not all known yet."""
    labels, voxel = store.description.labels, store.description.voxel_size_angstrom
    radii = dict(store.description.radii_angstrom)
    measured = tuple(label for label in labels if label not in radii)
    for label in measured:
        halves = _halves(store, label, 2 * _LARGEST_MEASURED_VOXEL + 1, turned=False)
        radii[label] = voxel * measure_radius(halves.mean(axis=0))
    edge = 2 * math.ceil(_MARGIN * max(radii.values()) / voxel) + 1
    templates = np.stack([_template(store, label, edge, radii[label] / voxel) for label in labels])
    return Averages(templates.astype(np.float32), radii, measured)


def _template(store: TomogramStore, label: str, edge: int, radius_voxel: float) -> Float[np.ndarray, "n n n"]:
    """Return the average of a class; over all directions too, where too few orientations are known for two halves."""
    own = min(edge, 2 * math.ceil(_MARGIN * radius_voxel + _EDGE_VOXEL) + 1)  # a small particle is a small average
    halves = _halves(store, label, own, turned=True)
    if all(half.any() for half in halves):
        average = without_noise(np.stack([_within(half, radius_voxel) for half in halves]))
    else:
        average = rotational_average(_halves(store, label, own, turned=False).mean(axis=0))
    return np.pad(_within(average, radius_voxel), (edge - own) // 2)


def without_noise(halves: Float[np.ndarray, "2 n n n"]) -> Float[np.ndarray, "n n n"]:
    """Return the mean of two averages, each shell of frequencies as strong as it is certain.

    With the Fourier shell correlation F of the halves that is Wiener's filter, ``2F / (1 + F)`` (Rosenthal & Henderson 2003).
    """
    edge = halves.shape[-1]
    spectra = np.fft.fftn(halves, axes=(1, 2, 3))
    axis = np.fft.fftfreq(edge) * edge
    shell = np.rint(np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)).astype(int)

    def total(values: Float[np.ndarray, "n n n"]) -> Float[np.ndarray, "shells"]:
        return np.bincount(shell.ravel(), values.ravel())

    power = total(abs(spectra[0]) ** 2) * total(abs(spectra[1]) ** 2)
    correlation = total((spectra[0] * spectra[1].conj()).real) / np.sqrt(np.maximum(power, 1e-30))
    noise = np.flatnonzero(correlation < _NOISE)
    correlation[noise[0] if len(noise) else edge :] = 0
    certain = 2 * correlation / (1 + correlation)
    return np.asarray(np.fft.ifftn(spectra.mean(axis=0) * certain[shell]).real)


def _within(volume: Float[np.ndarray, "n n n"], radius_voxel: float) -> Float[np.ndarray, "n n n"]:
    """Return what lies within the radius and its margin, above the gray value there."""
    inside = np.clip(1 - (distances(len(volume)) - _MARGIN * radius_voxel) / _EDGE_VOXEL, 0, 1)
    border = (inside > 0) & (inside < 1)
    return (volume - (np.median(volume[border]) if border.any() else 0)) * inside


def measure_radius(average: Float[np.ndarray, "n n n"]) -> float:
    """Return the largest radius, in voxels, at which the mean over directions is a third of its strongest; at least 2."""
    distance = distances(len(average)).round().astype(int)
    shells = np.bincount(distance.ravel(), average.ravel()) / np.bincount(distance.ravel())
    shells = shells[: len(average) // 2]
    strong = np.flatnonzero(shells > _EDGE_OF_MATTER * shells.max())
    return float(max(2, strong[-1] + 0.5))


def _halves(store: TomogramStore, label: str, edge: int, *, turned: bool) -> Float[np.ndarray, "2 n n n"]:
    """Average two halves of up to some hundred particles, matter positive, `turned` back by their orientations, if these are known.

    A half without particles is zero.
    """
    rows = store.particles[(store.particles["label"] == label) & (store.particles["split"] == TRAIN)]
    rows = rows.iloc[:: max(1, math.ceil(len(rows) / _MOST_AVERAGED))]
    total, count = np.zeros((2, *(edge,) * 3)), np.zeros(2)
    for run, picked in rows.groupby("run"):
        volume = store.array(str(run))
        rotations = picked[ROTATION].to_numpy(float).reshape(-1, 3, 3) if turned else [np.eye(3)] * len(picked)
        for center, rotation in zip(picked[CENTER_VOXEL].to_numpy(), rotations, strict=True):
            if np.isfinite(rotation).all():
                half = int(count.sum()) % 2
                total[half] -= seen(volume, center, rotation, edge // 2)
                count[half] += 1
    return total / np.maximum(count, 1)[:, None, None, None]


def seen(
    volume: Any, center: Float[np.ndarray, "3"], rotation: Float[np.ndarray, "3 3"], half: int
) -> Float[np.ndarray, "n n n"]:
    """Return the tomogram around a center in the particle's own frame; what lies outside is 0."""
    around = 2 * math.ceil(half * math.sqrt(3)) + 4
    start = box_start(center, around)
    own = np.stack(np.meshgrid(*[np.arange(-half, half + 1.0)] * 3, indexing="ij"), axis=-1)
    places = own @ rotation.T + (center - start)
    return map_coordinates(
        _block(volume, start, around), np.moveaxis(places, -1, 0), output=np.float64
    )  # cubic splines


def _block(volume: Any, start: np.ndarray, edge: int) -> Float32[np.ndarray, "n n n"]:
    """Read a cube, zeros beyond the tomogram."""
    shape = volume.shape
    low = np.clip(start, 0, shape)
    high = np.clip(start + edge, 0, shape)
    inside = np.asarray(volume[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], dtype=np.float32)
    return crop(inside, (start - low).tolist(), (edge,) * 3)
