"""The blocks of the paper's U-Net: conditional residual block, halving, doubling. They work on boxes of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

from frazil.model.steady import SteadyConv3d, SteadyConvTranspose3d, SteadyLinear, one_by_one

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class ConditionalResidualBlock(nn.Module):
    """Two normalised 3^3 convolutions around a residual path; the condition enters as a bias a channel.

    ``norm1, SiLU, conv1, + bias(condition), norm2, SiLU, conv2, + skip(x)`` (the paper's network section).

    Parameters
    ----------
    in_channels, out_channels : where they differ, the residual path is a 1^3 convolution; else it has no parameters.
    condition_width : length of the condition vector.
    in_groups, out_groups : groups of the first and the second GroupNorm.
    """

    def __init__(
        self, in_channels: int, out_channels: int, condition_width: int, *, in_groups: int, out_groups: int
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(in_groups, in_channels)
        self.conv1 = SteadyConv3d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(out_groups, out_channels)
        self.conv2 = SteadyConv3d(out_channels, out_channels, kernel_size=3, padding=1)
        self.cond_proj = SteadyLinear(condition_width, out_channels)
        same = in_channels == out_channels
        self.skip: nn.Module = nn.Identity() if same else SteadyConv3d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Float[Tensor, "b c z y x"], condition: Float[Tensor, "b w"]) -> Float[Tensor, "b out_c z y x"]:
        """Return the block's output; the box keeps its size."""
        h = self.conv1(_activate(self.norm1, x))
        h = h + self.cond_proj(condition).to(h.dtype)[:, :, None, None, None]
        h = self.conv2(_activate(self.norm2, h))
        return h + self.skip(x)  # type: ignore[no-any-return]


def _activate(norm: nn.GroupNorm, x: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b c z y x"]:
    return one_by_one(lambda volume: F.silu(norm(volume)), x)


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
