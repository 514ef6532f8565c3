"""The paper's conditional 3D U-Net, which predicts the clean volume x0 (Passi & Cohen)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from frazil.errors import ShapeError
from frazil.model.embed import ConditionEmbedding
from frazil.model.layers import ConditionalResidualBlock, Double, Halve
from frazil.model.steady import SteadyConv3d

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int64
    from torch import Tensor

    from frazil.records import Condition
    from frazil.settings import ModelSettings

HALVINGS = 3
"""How often the network halves a box; its edges must be multiples of 2^3."""


def check_box_size(box_size_voxel: Sequence[int]) -> None:
    """Refuse a box that the network cannot halve three times.

    Parameters
    ----------
    box_size_voxel : edges of the box, zyx.

    Raises
    ------
    ShapeError : an edge is no multiple of 8.
    """
    multiple = 2**HALVINGS
    for axis, edge in zip("zyx", box_size_voxel, strict=True):
        if edge < multiple or edge % multiple:
            below, above = edge // multiple * multiple, (max(edge, 0) // multiple + 1) * multiple
            nearest = f"{below} or {above}" if below > 0 else f"{above}"
            raise ShapeError(
                f"box edge {axis} = {edge} voxels cannot be halved {HALVINGS} times; the nearest that can: {nearest}"
            )


class ConditionalUNet(nn.Module):
    """Encoder of three levels, bottleneck, mirrored decoder with skip connections; every block sees the condition.

    With base channels c the levels have c, 2c and 4c channels, the bottleneck 4c. The decoder counts from the bottleneck
    up: ``dec1`` stands opposite ``enc3``. With c = 32, six classes and ``sum`` conditioning: 3,420,067 parameters.

    Parameters
    ----------
    settings : conditioning and widths.
    label_count : number of classes.
    """

    def __init__(self, settings: ModelSettings, label_count: int) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(label_count, settings.embedding_width, settings.conditioning)
        width, groups, c = self.embed.out_width, settings.groups, settings.base_channels

        def block(in_channels: int, out_channels: int, *, in_groups: int = groups) -> ConditionalResidualBlock:
            return ConditionalResidualBlock(in_channels, out_channels, width, in_groups=in_groups, out_groups=groups)

        self.enc1 = block(1, c, in_groups=1)
        self.down1 = Halve(c)
        self.enc2 = block(c, 2 * c)
        self.down2 = Halve(2 * c)
        self.enc3 = block(2 * c, 4 * c)
        self.down3 = Halve(4 * c)
        self.bot = block(4 * c, 4 * c)
        self.up1 = Double(4 * c)
        self.dec1 = block(4 * c + 4 * c, 2 * c)
        self.up2 = Double(2 * c)
        self.dec2 = block(2 * c + 2 * c, c)
        self.up3 = Double(c)
        self.dec3 = block(c + c, c)
        self.out_conv = SteadyConv3d(c, 1, kernel_size=3, padding=1)

    def forward(
        self, x_t: Float[Tensor, "b 1 z y x"], t: Int64[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b 1 z y x"]:
        """Predict the clean volumes x0 from noisy ones.

        Parameters
        ----------
        x_t : `(b, 1, z, y, x)` noisy z-scored volumes; every edge a multiple of 8.
        t : `(b,)` timesteps, 0 is the least noise.
        condition : what each volume shows.

        Raises
        ------
        ShapeError : an edge is no multiple of 8.
        """
        check_box_size(x_t.shape[2:])
        vector = self.embed(t, condition)
        skip1 = self.enc1(x_t, vector)
        skip2 = self.enc2(self.down1(skip1), vector)
        skip3 = self.enc3(self.down2(skip2), vector)
        h = self.bot(self.down3(skip3), vector)
        h = self.dec1(torch.cat([self.up1(h), skip3], dim=1), vector)
        h = self.dec2(torch.cat([self.up2(h), skip2], dim=1), vector)
        h = self.dec3(torch.cat([self.up3(h), skip1], dim=1), vector)
        # the last layer leaves autocast: rounding x0 to bf16 would lift the faintest part of its spectrum
        with torch.autocast(h.device.type, enabled=False):
            return self.out_conv(h.to(self.out_conv.weight.dtype))  # type: ignore[no-any-return]


def build_network(
    settings: ModelSettings, label_count: int, *, generator: torch.Generator | None = None
) -> ConditionalUNet:
    """Build the network with fresh weights, drawn as PyTorch's layers draw theirs but from `generator` alone.

    Parameters
    ----------
    settings : conditioning and widths.
    label_count : number of classes, at least 1.
    generator : on the CPU; None is a fresh generator of seed 0, so that the weights are always the same.

    Raises
    ------
    ShapeError : no classes.
    """
    network = empty_network(settings, label_count).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear | nn.Conv3d | nn.ConvTranspose3d):
            _draw_weights(layer, generator)
    return network


def empty_network(settings: ModelSettings, label_count: int) -> ConditionalUNet:
    """Build the network on the meta device: names and shapes without memory, to be given weights at once.

    Raises
    ------
    ShapeError : no classes.
    """
    if label_count < 1:
        raise ShapeError(f"label count {label_count}: the network needs at least one class")
    with torch.device("meta"):
        return ConditionalUNet(settings, label_count)


def _draw_weights(layer: nn.Linear | nn.Conv3d | nn.ConvTranspose3d, generator: torch.Generator) -> None:
    """Draw U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weight and bias: PyTorch's own choice for these layers."""
    fan_in = layer.weight[0].numel()
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
