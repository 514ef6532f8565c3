"""A small picker: a 3D U-Net that gives every voxel a class, and places where a class is most likely.

It stands for the pickers that people train, which it resembles (targets as octopi makes them: a ball in each particle), not for the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.ndimage import gaussian_filter, maximum_filter
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.core.memory import keep_freed_memory, machine_memory
from frazil.model.activation import norm_silu
from frazil.model.compute import Compute
from frazil.volume.layout import MORE_PLANES, Painter

BALL = 0.5
"""Radius of the ball that marks a particle, as a share of its own."""

EDGE = 32
"""Of the windows to learn from, in voxels of the classes."""

_HALVINGS = 2
_HALO, _CORE = 8, 96
"""Around and in a window to pick in, in voxels of the classes; smaller ones spend more on halos."""

_WINDOW_BYTES = 2_000_000_000
"""Memory that picking in a window takes, about."""

_FINE_ANGSTROM = 15.0
"""Voxels smaller than this are taken two at a time along each axis, as in front ends."""

_APART = 0.8
"""Two picks of a class are at least this share of the radius apart."""


def stride_voxel(voxel_size_angstrom: float) -> int:
    """Return how many voxels of a tomogram are along the edge of one that gets a class."""
    return 2 if voxel_size_angstrom < _FINE_ANGSTROM else 1


class PickerNetwork(nn.Module):
    """Three levels of two 3^3 convolutions, from a tomogram to logits of background and `classes`, a stride coarser."""

    def __init__(self, classes: int, stride: int, channels: int = 16) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(_HALVINGS + 1)]
        self.stem = nn.Conv3d(1, channels, stride + 2, stride=stride, padding=1)
        self.down = nn.ModuleList(_Block(width // 2 if level else width, width) for level, width in enumerate(widths))
        self.across = nn.ModuleList(nn.Conv3d(2 * width, width, 1) for width in widths[:-1])
        self.up = nn.ModuleList(_Block(width, width) for width in widths[:-1])
        self.out = nn.Conv3d(channels, 1 + classes, 1)

    def forward(self, volume: Float[Tensor, "b 1 z y x"]) -> Float[Tensor, "b classes zs ys xs"]:
        """Return the logits; edges are multiples of four strides."""
        h, kept = self.stem(volume), []
        for level, block in enumerate(self.down):
            h = block(F.avg_pool3d(h, 2) if level else h)
            kept.append(h)
        for level in reversed(range(len(self.up))):
            h = self.up[level](F.interpolate(self.across[level](h), scale_factor=2) + kept[level])
        return self.out(h)  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv3d(some, width, 3, padding=1) for some in (channels, width))
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))

    def forward(self, h: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b width z y x"]:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = norm_silu(norm, convolution(h))  # type: ignore[arg-type]
        return h


@dataclass(frozen=True)
class Picker:
    """A trained network, and what its classes are.

    Parameters
    ----------
    radii_voxel : of the particles of each class, in voxels of the tomograms.
    stride : see `stride_voxel`.
    """

    network: PickerNetwork
    labels: tuple[str, ...]
    radii_voxel: tuple[float, ...]
    stride: int

    @torch.no_grad()
    def probabilities(self, volume: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "k zs ys xs"]:
        """Return how likely each class is, in a normalized tomogram of any shape, window by window with a halo."""
        multiple, halo, core = self.stride * 2**_HALVINGS, _HALO * self.stride, _CORE * self.stride
        found = np.zeros((len(self.labels), *(-(-edge // self.stride) for edge in volume.shape)), dtype=np.float32)
        padded = np.pad(volume, [(halo, halo + -edge % multiple) for edge in volume.shape], mode="reflect")
        compute = Compute.native("cpu")
        keep_freed_memory(_WINDOW_BYTES, machine_memory())
        for start in np.ndindex(*[-(-edge // core) for edge in volume.shape]):
            low = [at * core for at in start]
            high = [min(at + core, -(-edge // multiple) * multiple) for at, edge in zip(low, volume.shape, strict=True)]
            seen = padded[tuple(slice(a, b + 2 * halo) for a, b in zip(low, high, strict=True))]
            with compute.autocast("cpu"):
                logits = self.network(torch.from_numpy(seen.astype(np.float32))[None, None])
            share = logits.float().softmax(dim=1)[0, 1:, _HALO:-_HALO, _HALO:-_HALO, _HALO:-_HALO].numpy()
            spans = [slice(a // self.stride, a // self.stride + n) for a, n in zip(low, share.shape[1:], strict=True)]
            place = found[(slice(None), *spans)]
            place[...] = share[(slice(None), *map(slice, place.shape[1:]))]
        return found

    def pick(
        self, volume: Float[np.ndarray, "z y x"], least: float = 0.05
    ) -> dict[str, tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]]:
        """Return centers (zyx, voxels of the tomogram) and scores of each class: peaks of the probability, averaged over a ball's width."""
        picks = {}
        for label, radius, share in zip(self.labels, self.radii_voxel, self.probabilities(volume), strict=True):
            smooth = gaussian_filter(share, BALL * radius / self.stride / 2)
            reach = 2 * int(np.ceil(_APART * radius / self.stride)) + 1
            peaks = (smooth == maximum_filter(smooth, reach)) & (smooth > least)
            centers = np.argwhere(peaks) * self.stride + (self.stride - 1) / 2
            picks[label] = centers, smooth[peaks]
        return picks


def ball_painter(radii_voxel: Sequence[float], stride: int) -> Painter:
    """Return what paints the targets of a picker."""
    return Painter(torch.zeros(len(radii_voxel), 3, 3, 3), [BALL * radius for radius in radii_voxel], stride)


def target(planes: Float[Tensor, "planes z y x"]) -> Int64[Tensor, "z y x"]:
    """Return the class of each voxel of painted balls, 0 for background."""
    strongest, label = planes[:-MORE_PLANES].max(dim=0)
    return (label + 1) * (strongest > 0.5)
