"""Front ends: orthonormal transforms of a box into 8 bands of half its edges, so that the network works at half the resolution.

Orthonormal means that nothing is lost, white noise stays white, and a squared error is the same in bands and in voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frazil.core.settings import FrontEndName

BANDS = ("LLL", "LLH", "LHL", "LHH", "HLL", "HLH", "HHL", "HHH")
"""The bands in order: for z, y and x, low or high pass (``haar``), or the even or odd voxels (``space-to-depth``)."""

_FINEST_FIRST = (4, 3, 2)  # x, y, z: the axis that is split last counts most in the order of the bands


def haar_split(x: Float[Tensor, "b 1 z y x"]) -> Float[Tensor, "b 8 half_z half_y half_x"]:
    """Split volumes into their Haar bands: normalized sums (L) and differences (H, even minus odd) of neighbors.

    Sums of pairs, not a matrix product: a volume is then bitwise the same in every batch (`frazil.model.steady`).
    """
    for axis in _FINEST_FIRST:
        even, odd = torch.unflatten(x, axis, (-1, 2)).unbind(axis + 1)
        x = torch.cat([even + odd, even - odd], dim=1)
    return x / math.sqrt(8)


def haar_join(bands: Float[Tensor, "b 8 z y x"]) -> Float[Tensor, "b 1 double_z double_y double_x"]:
    """Join Haar bands; the inverse of `haar_split`."""
    for axis in reversed(_FINEST_FIRST):
        low, high = bands.chunk(2, dim=1)
        bands = torch.stack([low + high, low - high], dim=axis + 1).flatten(axis, axis + 1)
    return bands / math.sqrt(8)


def space_to_depth(x: Float[Tensor, "b 1 z y x"]) -> Float[Tensor, "b 8 half_z half_y half_x"]:
    """Sort the voxels of every 2^3 cube into 8 channels."""
    for axis in _FINEST_FIRST:
        x = torch.cat(torch.unflatten(x, axis, (-1, 2)).unbind(axis + 1), dim=1)
    return x


def depth_to_space(bands: Float[Tensor, "b 8 z y x"]) -> Float[Tensor, "b 1 double_z double_y double_x"]:
    """Sort 8 channels into 2^3 cubes; the inverse of `space_to_depth`."""
    for axis in reversed(_FINEST_FIRST):
        bands = torch.stack(bands.chunk(2, dim=1), dim=axis + 1).flatten(axis, axis + 1)
    return bands


class FrontEnd(nn.Module):
    """A transform, with the standard deviation of its bands: those of a tomogram's Haar bands differ some fortyfold.

    `std` is a buffer: it is saved with the weights. Without a front end there is neither transform nor buffer, and the one
    band, the z-scored volume itself, has a standard deviation of 1. An empty `band_std` is 1 for each, until training measures it.
    """

    std: Tensor

    def __init__(self, name: FrontEndName, band_std: Sequence[float] = ()) -> None:
        super().__init__()
        self.name = name
        self.band_std = tuple(band_std)
        if name != "none":
            self.register_buffer("std", torch.ones(len(BANDS)))
            self.reset_std()

    def reset_std(self) -> None:
        """Set `std` to what the settings say."""
        if self.name != "none":
            self.std.copy_(torch.tensor(self.band_std or [1.0] * len(BANDS)))

    def band_scale(self, device: torch.device | str = "cpu") -> Float[Tensor, "bands"]:
        """Return the standard deviation of each band, also of the one band without a front end, on the network's device."""
        return torch.ones(1, device=device) if self.name == "none" else self.std

    def split(self, x: Float[Tensor, "b 1 z y x"]) -> Float[Tensor, "b bands half_z half_y half_x"]:
        """Transform volumes of even edges into bands."""
        if self.name == "none":
            return x
        return haar_split(x) if self.name == "haar" else space_to_depth(x)

    def join(self, bands: Float[Tensor, "b bands half_z half_y half_x"]) -> Float[Tensor, "b 1 z y x"]:
        """Transform bands back into volumes."""
        if self.name == "none":
            return bands
        return haar_join(bands) if self.name == "haar" else depth_to_space(bands)
