"""What a particle of each class looks like: the average of training particles, each turned back by its orientation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from frazil.dataset.split import TRAIN
from frazil.dataset.tables import CENTER_VOXEL, ROTATION
from frazil.dataset.tomograms.store import TomogramStore
from frazil.volume.crop import box_start, crop

_MOST_AVERAGED = 400
_MARGIN = 1.25
"""Templates reach this much beyond the largest radius: the halo that defocus makes is part of the looks."""

_SMOOTHING_VOXEL = 0.8
"""Planes have half the resolution of the tomogram: what they cannot show is filtered out."""

_EDGE_OF_MATTER = 0.3
"""A particle ends where its average falls to this share of its strongest."""

_LARGEST_MEASURED_VOXEL = 24


@dataclass(frozen=True)
class Averages:
    """Templates `(k, n, n, n)`, matter positive, 1 at the strongest, zeros for a class without orientations; radii of all classes.

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
        upright = _average(store, label, 2 * _LARGEST_MEASURED_VOXEL + 1, turned=False)
        radii[label] = voxel * measure_radius(upright)
    edge = 2 * math.ceil(_MARGIN * max(radii.values()) / voxel) + 1
    templates = np.stack([_average(store, label, edge, turned=True) for label in labels])
    return Averages(templates, radii, measured)


def measure_radius(average: Float[np.ndarray, "n n n"]) -> float:
    """Return the largest radius, in voxels, at which the mean over directions is a third of its strongest; at least 2."""
    axis = np.arange(len(average)) - len(average) // 2
    distance = np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis, indexing="ij"))).round().astype(int)
    shells = np.bincount(distance.ravel(), average.ravel()) / np.bincount(distance.ravel())
    shells = shells[: len(average) // 2]
    strong = np.flatnonzero(shells > _EDGE_OF_MATTER * shells.max())
    return float(max(2, strong[-1] + 0.5))


def _average(store: TomogramStore, label: str, edge: int, *, turned: bool) -> Float32[np.ndarray, "n n n"]:
    """Average up to some hundred particles in a cube of `edge`; `turned` back by their orientations, if these are known."""
    rows = store.particles[(store.particles["label"] == label) & (store.particles["split"] == TRAIN)]
    rows = rows.iloc[:: max(1, math.ceil(len(rows) / _MOST_AVERAGED))]
    total, count = np.zeros((edge,) * 3), 0
    for run, picked in rows.groupby("run"):
        volume = store.array(str(run))
        rotations = picked[ROTATION].to_numpy(float).reshape(-1, 3, 3) if turned else [np.eye(3)] * len(picked)
        for center, rotation in zip(picked[CENTER_VOXEL].to_numpy(), rotations, strict=True):
            if np.isfinite(rotation).all():
                total += seen(volume, center, rotation, edge // 2)
                count += 1
    if not count:
        return np.zeros((edge,) * 3, dtype=np.float32)
    dark = -total / count
    faces = [np.take(dark, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    smooth = gaussian_filter(dark - np.median(np.concatenate(faces)), _SMOOTHING_VOXEL)
    return np.asarray(smooth / max(smooth.max(), 1e-6), dtype=np.float32)


def seen(
    volume: Any, center: Float[np.ndarray, "3"], rotation: Float[np.ndarray, "3 3"], half: int
) -> Float[np.ndarray, "n n n"]:
    """Return the tomogram around a center in the particle's own frame; what lies outside is 0."""
    around = 2 * math.ceil(half * math.sqrt(3)) + 4
    start = box_start(center, around)
    block = torch.from_numpy(_block(volume, start, around))
    own = np.stack(np.meshgrid(*[np.arange(-half, half + 1.0)] * 3, indexing="ij"), axis=-1)
    places = own @ rotation.T + (center - start)
    grid = torch.from_numpy((2 * places[..., ::-1] / (around - 1) - 1).astype(np.float32))[None]
    seen = F.grid_sample(block[None, None], grid, align_corners=True)[0, 0]
    return np.asarray(seen, dtype=np.float64)


def _block(volume: Any, start: np.ndarray, edge: int) -> Float32[np.ndarray, "n n n"]:
    """Read a cube, zeros beyond the tomogram."""
    shape = volume.shape
    low = np.clip(start, 0, shape)
    high = np.clip(start + edge, 0, shape)
    inside = np.asarray(volume[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], dtype=np.float32)
    return crop(inside, (start - low).tolist(), (edge,) * 3)
