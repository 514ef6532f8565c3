"""The network of the classifier."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frazil.core.seeds import torch_generator

SHIFT_VOXEL = 2
"""Training windows are moved by up to this many voxels along each axis, as centers are off by about as much."""

CHANNELS = (16, 32, 64)
"""Of the three levels; the last is the number of features."""

LEAST_EDGE = 8
"""Three convolutions of stride 2."""

_WINDOW = 32
_BINNED = 40
_CENTER_WIDTH = 2 / 3
"""Standard deviation in voxels of the last level, 5 or 6 of the first."""


def window_edge(box_size_voxel: int) -> int:
    """Return the edge of the central cube that a classifier looks at.

    Half of the box, since boxes are cut about twice as wide as particles and the rest shows other particles; at least 32 voxels
    where the box has them and room for shifts.
    """
    wanted = min(max(_WINDOW, box_size_voxel // 2), box_size_voxel - 2 * SHIFT_VOXEL)
    return max(wanted, min(box_size_voxel, LEAST_EDGE))


def binning(window_voxel: int) -> int:
    """Return the edge of the cubes of voxels that are averaged, so that large windows do not take hours."""
    return -(-window_voxel // _BINNED)


class _Pool(nn.Module):
    """Means of every channel: over the window, and with a Gaussian around its center, where the particle is."""

    def __init__(self, center: float) -> None:
        super().__init__()
        self._center = center

    def forward(self, values: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b d"]:
        distance = (torch.arange(values.shape[-1]) - self._center) / _CENTER_WIDTH
        weights = torch.exp(-0.5 * distance**2)
        weights = weights / weights.sum()
        near = torch.einsum("bczyx,z,y,x->bc", values, weights, weights, weights)
        return torch.cat([values.mean(dim=(2, 3, 4)), near], dim=1)


def build_network(window_voxel: int, classes: int) -> nn.Sequential:
    """Return [features, decision] on the meta device: three levels, each begun with a stride of 2, pooled and mixed."""
    first, second, third = CHANNELS
    with torch.device("meta"):  # the global generator is left alone
        features = nn.Sequential(
            nn.AvgPool3d(binning(window_voxel)),
            *_convolution(1, first, stride=2),
            *_convolution(first, second, stride=2),
            *_convolution(second, second),
            *_convolution(second, third, stride=2),
            *_convolution(third, third),
            # a convolution of stride 2, padded by 1, has its output i at its input 2 i
            _Pool(window_voxel // 2 / binning(window_voxel) / 8),
            nn.Linear(2 * third, third),
            nn.SiLU(),
        )
        return nn.Sequential(features, nn.Linear(third, classes))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.GroupNorm(8, outputs), nn.SiLU()]


def fresh_network(window_voxel: int, classes: int, seed: int) -> nn.Sequential:
    """Build the network with weights from the seed alone, drawn as PyTorch draws them: U(+-1/sqrt(fan_in))."""
    network = build_network(window_voxel, classes).to_empty(device="cpu")
    generator = torch_generator(seed, "classifier weights")
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv3d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return network
