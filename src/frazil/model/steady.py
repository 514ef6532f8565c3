"""Layers that compute one volume the same way in every batch, so that a sample does not depend on its neighbors.

On the CPU, PyTorch chooses kernels by batch size, and they round differently. These layers have the weights, names and results of
their plain forms; without gradients on the CPU they use the same kernel for every batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_PLAIN_KERNEL_LIMIT = 20480
"""PyTorch gives a lone float32 volume of at most this many lines (channel, z, y) to a plain kernel, not to oneDNN."""


def _choice_matters(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def _as_in_a_batch(convolve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Convolve; a lone small volume is passed as one of a pair, which is also faster than PyTorch's kernel for it."""
    plain = len(x) == 1 and math.prod(x.shape[1:4]) <= _PLAIN_KERNEL_LIMIT and not torch.is_autocast_enabled("cpu")
    if plain and _choice_matters(x):
        return convolve(x.expand(2, *x.shape[1:]))[:1]
    return convolve(x)


def one_by_one(operation: Callable[..., Tensor], x: Float[Tensor, "b ..."], *more: Float[Tensor, "b ..."]) -> Tensor:
    """Apply `operation` to each volume (with its part of `more`) separately if the batch could change its rounding.

    Threads then divide one volume and never the batch. That matters to GroupNorm with the channels last, where every
    thread sums over its own part; to SiLU, where PyTorch takes another exponential at the end of a part; and to attention.
    """
    if len(x) == 1 or not _choice_matters(x):
        return operation(x, *more)
    return torch.cat([operation(*(tensor[i : i + 1] for tensor in (x, *more))) for i in range(len(x))])


def _weight_gradient_fails_in_bf16(x: Tensor) -> bool:
    """Return whether oneDNN's bf16 weight gradient would read memory that it never wrote: if an edge is 1 or 2 voxels.

    Boxes of 8^3 and 16^3 are halved to such edges. The gradient is then often NaN, or merely wrong (torch 2.13, x86).
    """
    training = x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
    return training and min(x.shape[2:]) <= 2


class SteadyConv3d(nn.Conv3d):
    """`torch.nn.Conv3d` whose result for a volume is bitwise the same in every batch on the CPU."""

    def forward(self, input: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b out_c z y x"]:
        """Convolve a batch."""
        if _weight_gradient_fails_in_bf16(input):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        if self.kernel_size == (1, 1, 1) and _choice_matters(input):
            # a 1^3 kernel has nothing to dilate; but undilated, batches of 16 would take another kernel on one thread
            return _as_in_a_batch(lambda x: F.conv3d(x, self.weight, self.bias, dilation=2), input)
        return _as_in_a_batch(super().forward, input)


class ExactConv3d(SteadyConv3d):
    """`SteadyConv3d` whose result is float32 under autocast too.

    On the CPU its gradients are bf16, like those of the layers before it, so that only the result costs float32.
    """

    def forward(self, input: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b out_c z y x"]:
        """Convolve a batch."""
        rounded = input.dtype == torch.bfloat16 and input.device.type == "cpu" and torch.is_grad_enabled()
        if rounded and not _weight_gradient_fails_in_bf16(input):
            return _RoundedGradients.apply(input, self.weight, self.bias, self.padding)  # type: ignore[no-untyped-call, no-any-return, unused-ignore]
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class _RoundedGradients(torch.autograd.Function):
    """Convolution in the precision of the weight, gradients in that of the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = list(padding)
        with torch.autocast(x.device.type, enabled=False):
            return F.conv3d(x.to(weight.dtype), weight, bias, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[:2], False]
        dx, dweight, _ = torch.ops.aten.convolution_backward(
            gradients[0].to(x.dtype), x, weight.to(x.dtype), None, [1] * 3, ctx.padding, [1] * 3, False, [0] * 3, 1, wanted
        )  # fmt: skip
        return dx, None if dweight is None else dweight.to(weight.dtype), gradients[0].sum((0, 2, 3, 4)), None


class SteadyConvTranspose3d(nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` whose result for a volume is bitwise the same in every batch on the CPU."""

    def forward(
        self, input: Float[Tensor, "b c z y x"], output_size: list[int] | None = None
    ) -> Float[Tensor, "b out_c out_z out_y out_x"]:
        """Convolve a batch."""
        return _as_in_a_batch(lambda x: super(SteadyConvTranspose3d, self).forward(x, output_size), input)


class SteadyLinear(nn.Linear):
    """`torch.nn.Linear` whose result for a row is bitwise the same in every batch on the CPU."""

    def forward(self, input: Float[Tensor, "b w"]) -> Float[Tensor, "b out_w"]:
        """Map a batch of rows."""
        if not _choice_matters(input):
            return super().forward(input)
        return (input[:, None, :] * self.weight).sum(dim=2) + self.bias  # a matrix product would round by its height


class SteadySiLU(nn.SiLU):
    """`torch.nn.SiLU` whose result for a volume is bitwise the same in every batch on the CPU."""

    def forward(self, input: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Apply to a batch."""
        return one_by_one(super().forward, input)
