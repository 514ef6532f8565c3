"""The blocks of the U-Net: conditional residual block, self-attention, halving, doubling. They work on boxes of any size."""

from __future__ import annotations

from typing import TypeVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.core.settings import Modulation
from frazil.model.activation import norm_silu
from frazil.model.steady import SteadyConv3d, SteadyConvTranspose3d, SteadyLinear, one_by_one

_Layer = TypeVar("_Layer", bound=nn.Module)


def start_at_zero(layer: _Layer) -> _Layer:
    """Set the layer's parameters to zero, and mark it so that `build_network` leaves them at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    layer.starts_at_zero = True  # type: ignore[assignment]
    return layer


class ConditionalResidualBlock(nn.Module):
    """Two normalized 3^3 convolutions around a residual path, and the condition in between.

    With a ``bias`` (the paper's network section): ``norm1, SiLU, conv1, + bias(condition), norm2, SiLU, conv2, + skip(x)``.
    With ``scale-shift``: ``norm1, SiLU, conv1, norm2, * (1 + scale(condition)) + shift(condition), SiLU, conv2, + skip(x)``;
    scale and shift start at zero. If `in_channels` and `out_channels` differ, the residual path is a 1^3 convolution; else it has no
    parameters.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        condition_width: int,
        *,
        in_groups: int,
        out_groups: int,
        modulation: Modulation = "bias",
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(in_groups, in_channels)
        self.conv1 = SteadyConv3d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(out_groups, out_channels)
        self.conv2 = SteadyConv3d(out_channels, out_channels, kernel_size=3, padding=1)
        self.modulation = modulation
        if modulation == "bias":
            self.cond_proj = SteadyLinear(condition_width, out_channels)
        else:
            self.cond_proj = start_at_zero(SteadyLinear(condition_width, 2 * out_channels))
        same = in_channels == out_channels
        self.skip: nn.Module = nn.Identity() if same else SteadyConv3d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Float[Tensor, "b c z y x"], condition: Float[Tensor, "b w"]) -> Float[Tensor, "b out_c z y x"]:
        """Return the block's output; the box keeps its size."""
        h = self.conv1(norm_silu(self.norm1, x))
        projected = self.cond_proj(condition).to(h.dtype)[:, :, None, None, None]
        if self.modulation == "bias":
            h = norm_silu(self.norm2, h + projected)
        else:
            scale, shift = projected.chunk(2, dim=1)
            h = norm_silu(self.norm2, h, 1 + scale, shift)
        return self.conv2(h) + self.skip(x)  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Every voxel attends to every other one of its volume: ``x + out(attention(norm(x)))`` (Dhariwal & Nichol 2021).

    The cost grows with the square of the number of voxels, so it belongs where the box is smallest. It starts as the identity.
    Each head attends with its own share of the channels.
    """

    def __init__(self, channels: int, *, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = SteadyConv3d(channels, 3 * channels, kernel_size=1)
        self.out = start_at_zero(SteadyConv3d(channels, channels, kernel_size=1))

    def forward(self, x: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b c z y x"]:
        """Return the block's output; the box keeps its size."""
        return x + one_by_one(self._attend, x)

    def _attend(self, x: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b c z y x"]:
        lines = self.qkv(self.norm(x)).flatten(2)  # (b, 3c, voxels)
        query, key, value = lines.unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        attended = F.scaled_dot_product_attention(query, key, value)  # (b, heads, voxels, c / heads)
        return self.out(attended.transpose(-1, -2).reshape(x.shape))  # type: ignore[no-any-return]


class Halve(nn.Module):
    """Halve every edge of the box by a 3^3 convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = SteadyConv3d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b c half_z half_y half_x"]:
        """Return the box at half its edges, which must be even."""
        return self.conv(x)  # type: ignore[no-any-return]


class Double(nn.Module):
    """Double every edge of the box by a transposed 2^3 convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deconv = SteadyConvTranspose3d(channels, channels, kernel_size=2, stride=2)

    def forward(self, x: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b c double_z double_y double_x"]:
        """Return the box at twice its edges."""
        return self.deconv(x)  # type: ignore[no-any-return]
