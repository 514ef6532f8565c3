"""Embeddings of volumes that no training has touched: a random convolutional network and handcrafted numbers.

A learned embedding sees what its classes differ in and can be fooled by what it never saw; nobody can train against these two.
All take `(n, z, y, x)` z-scored cubes and give `(n, d)` float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from frazil.core.errors import ShapeError
from frazil.core.seeds import numpy_generator

Embedding = Callable[[Float32[np.ndarray, "n z y x"]], Float32[np.ndarray, "n d"]]

_BATCH = 8
_SMALLEST_EDGE = 16


class RandomEmbedding:
    """Channel means of a small convolutional network with random weights, the same on every machine and in every evaluation.

    Levels of [3^3 convolution, ReLU, mean over 2^3 voxels]; of each level the mean of every channel over the box and, weighted
    with a Gaussian of an eighth of the edge, around the center, where the particle is.
    """

    def __init__(self, channels: tuple[int, ...] = (8, 16, 32, 64)) -> None:
        random = numpy_generator(0, "random embedding")
        self._weights: list[Tensor] = []
        self._biases: list[Tensor] = []
        for inputs, outputs in zip((1, *channels), channels, strict=False):
            # He et al. 2015: keeps the variance from level to level
            weights = random.standard_normal((outputs, inputs, 3, 3, 3)) * np.sqrt(2 / (27 * inputs))
            self._weights.append(torch.from_numpy(weights.astype(np.float32)))
            self._biases.append(torch.from_numpy(random.uniform(-0.5, 0.5, outputs).astype(np.float32)))
        content = b"".join(tensor.numpy().tobytes() for tensor in (*self._weights, *self._biases))
        self.digest = hashlib.sha256(content).hexdigest()
        self.description = (
            f"random features: {len(channels)} levels of {'-'.join(map(str, channels))} channels, never trained, "
            f"seed 0, weights {self.digest[:12]}"
        )

    def __call__(self, volumes: Float32[np.ndarray, "n z y x"]) -> Float32[np.ndarray, "n d"]:
        """Return `(n, 2 x channels)` features of boxes of 16 voxels or more."""
        with torch.inference_mode():
            parts = [self._channel_means(torch.from_numpy(batch)[:, None]).numpy() for batch in _batches(volumes)]
        return np.concatenate(parts)

    def _channel_means(self, values: Float[Tensor, "b 1 z y x"]) -> Float[Tensor, "b d"]:
        parts = []
        for weight, bias in zip(self._weights, self._biases, strict=True):
            values = torch.nn.functional.conv3d(values, weight, bias, padding=1).relu_()
            values = torch.nn.functional.avg_pool3d(values, 2)
            near = torch.from_numpy(_center_weights(values.shape[-1]))
            parts += [values.mean(dim=(2, 3, 4)), (values * near).sum(dim=(2, 3, 4))]
        return torch.cat(parts, dim=1)


class HandcraftedEmbedding:
    """Numbers that a microscopist would look at, without any network.

    Log power in 8 shells of spatial frequency x (6 sectors of angle in the kz-kx plane, and the ky axis), mean gray value by
    distance from the center (in 3D, in the central XY slab, along the beam), spread, skew and kurtosis of gray values at three
    scales, and quantiles.
    """

    description = (
        "handcrafted features: log power by frequency and angle, radial profiles, moments at three scales, quantiles"
    )

    def __call__(self, volumes: Float32[np.ndarray, "n z y x"]) -> Float32[np.ndarray, "n d"]:
        """Return `(n, d)` features of boxes of 16 voxels or more; d depends on the box size alone."""
        parts = []
        for batch in _batches(volumes):
            # mean gray values by distance from the center: in 3D, in the XY slab through it, and along z through it
            profiles = [_cell_means(batch, cells) for cells in _profile_cells(batch.shape[-1])]
            parts.append(np.concatenate([_log_bands(batch), *profiles, _grey_values(batch)], axis=1))
        return np.concatenate(parts).astype(np.float32)


def fixed_embeddings() -> dict[str, Embedding]:
    """Return the two embeddings that are never trained, by name."""
    return {"random": RandomEmbedding(), "handcrafted": HandcraftedEmbedding()}


class Remembered:
    """An embedding that embeds no volume twice: sets overlap, and several stages look at the same volumes.

    Features are kept, volumes are not.
    """

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self._known: dict[bytes, Float32[np.ndarray, "d"]] = {}

    @property
    def description(self) -> str:
        """What the wrapped embedding says of itself."""
        return str(getattr(self._embedding, "description", ""))

    def __call__(self, volumes: Float32[np.ndarray, "n z y x"]) -> Float32[np.ndarray, "n d"]:
        """Return the features of the wrapped embedding."""
        keys = [hashlib.sha256(np.ascontiguousarray(volume).data).digest() for volume in volumes]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        if new:
            features = self._embedding(np.stack([volumes[row] for row in new.values()]))
            self._known.update(zip(new, features, strict=True))
        return np.stack([self._known[key] for key in keys])


def _batches(volumes: Float32[np.ndarray, "n z y x"]) -> Iterator[Float32[np.ndarray, "b z y x"]]:
    if (edge := volumes.shape[1]) < _SMALLEST_EDGE:
        raise ShapeError(f"boxes of {edge} voxels are too small to describe; use boxes of {_SMALLEST_EDGE} or more")
    for start in range(0, len(volumes), _BATCH):
        yield np.ascontiguousarray(volumes[start : start + _BATCH], np.float32)


@lru_cache(maxsize=8)
def _center_weights(edge: int) -> Float32[np.ndarray, "z y x"]:
    at = np.exp(-0.5 * ((np.arange(edge) - (edge - 1) / 2) / (edge / 8)) ** 2)
    weights = at[:, None, None] * at[:, None] * at
    return np.asarray(weights / weights.sum(), np.float32)


def _log_bands(batch: Float32[np.ndarray, "b z y x"]) -> Float[np.ndarray, "b bands"]:
    """Return log10 power in cells of frequency and direction; a piece is faded out at its edges, as in `volume.spectra`."""
    edge = batch.shape[-1]
    window = np.hanning(edge + 2)[1:-1].astype(np.float32)
    faded = batch * window[:, None, None] * window[:, None] * window
    spectrum = scipy.fft.rfftn(faded, axes=(1, 2, 3))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    power /= np.square(window, dtype=np.float64).sum() ** 3  # white noise of variance 1 has 1
    # power below 1e-8 of that is rounding, not structure
    return np.asarray(np.log10(np.maximum(_cell_means(power, _band_cells(edge)), 1e-8)))


def _grey_values(batch: Float32[np.ndarray, "b z y x"]) -> Float[np.ndarray, "b numbers"]:
    """Return spread, skew and log kurtosis at three scales, and quantiles at the middle one."""
    parts: list[np.ndarray] = []
    for scale in (1, 2, 4):
        values = batch.reshape(len(batch), -1)
        centered = values - values.mean(axis=1, keepdims=True)
        square = np.square(centered)
        variance, third, fourth = (
            power.mean(axis=1, dtype=np.float64) for power in (square, square * centered, np.square(square))
        )
        if scale == 1 and not (variance > 0).all():
            raise ShapeError("a volume has constant gray values, or some that are not finite; leave it out")
        variance = np.maximum(variance, 1e-12)  # a fine pattern can vanish at a coarse scale
        kurtosis = np.maximum(fourth / variance**2, 1)  # never less
        parts += [np.sqrt(variance), third / variance**1.5, np.log(kurtosis)]
        if scale == 2:
            parts += list(np.quantile(values, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99), axis=1))
        batch = _halved(batch)
    return np.stack(parts, axis=1)


def _halved(batch: Float32[np.ndarray, "b z y x"]) -> Float32[np.ndarray, "b z2 y2 x2"]:
    """Return the means over 2^3 voxels; an odd last voxel is left out."""
    for axis in (1, 2, 3):
        values = np.moveaxis(batch, axis, 0)
        odd = values[1::2]
        batch = np.moveaxis((values[::2][: len(odd)] + odd) / 2, 0, axis)
    return batch


@lru_cache(maxsize=8)
def _band_cells(edge: int, shells: int = 8, sectors: int = 6) -> np.ndarray:
    """Return the cell of each coefficient of `rfftn`, -1 for none, numbered without gaps."""
    kz, ky = scipy.fft.fftfreq(edge)[:, None, None], scipy.fft.fftfreq(edge)[:, None]
    kx = scipy.fft.rfftfreq(edge)
    radius, across = np.sqrt(kz**2 + ky**2 + kx**2), np.hypot(kz, kx) + 0 * ky
    shell = np.floor(radius / 0.5 * shells).astype(int)
    sector = np.floor(np.degrees(np.arctan2(np.abs(kz), kx)) / (90 / sectors)).clip(max=sectors - 1) + 0 * ky
    # near the ky axis the angle in the kz-kx plane says nothing
    sector = np.where(across < 0.3 * radius, sectors, sector).astype(int)
    return _without_gaps(np.where((shell < shells) & (radius > 0), shell * (sectors + 1) + sector, -1))


@lru_cache(maxsize=8)
def _profile_cells(edge: int, bins: int = 16) -> tuple[np.ndarray, ...]:
    at = np.arange(edge) - edge // 2
    z, y, x = at[:, None, None], at[:, None], at
    width = edge / 2 / bins

    def cells(distance: np.ndarray, kept: np.ndarray | bool = True) -> np.ndarray:
        cell = np.rint(distance / width).astype(int)
        return _without_gaps(np.where(kept & (cell < bins), cell, -1))

    in_plane, along_beam = np.broadcast_arrays(np.hypot(y, x), np.abs(z))
    return (
        cells(np.hypot(in_plane, along_beam)),
        cells(in_plane, along_beam <= width),
        cells(along_beam, in_plane <= 2 * width),
    )


def _without_gaps(cells: np.ndarray) -> np.ndarray:
    """Number the cells that are there from 0 on (small boxes lack some); -1 stays."""
    _, numbered = np.unique(cells, return_inverse=True)
    return np.asarray(numbered.reshape(cells.shape) - int((cells < 0).any()))


def _cell_means(values: Float[np.ndarray, "b z y x"], cells: np.ndarray) -> Float[np.ndarray, "b cells"]:
    kept = cells.ravel() >= 0
    index = cells.ravel()[kept]
    counts = np.bincount(index)
    return np.stack([np.bincount(index, weights=value.ravel()[kept]) / counts for value in values])
