"""Norm, scale and shift, SiLU: what precedes every convolution, as one step that keeps little memory and is fast in bf16."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.model.steady import one_by_one


def norm_silu(
    norm: nn.GroupNorm,
    x: Float[Tensor, "b c z y x"],
    factor: Float[Tensor, "b c 1 1 1"] | None = None,
    shift: Float[Tensor, "b c 1 1 1"] | None = None,
) -> Float[Tensor, "b c z y x"]:
    """Return ``SiLU(norm(x) * factor + shift)``; without `factor` and `shift`, ``SiLU(norm(x))``.

    Bitwise the same for a volume in every batch, like the layers of `frazil.model.steady`. Training in bf16 on the CPU has gradients
    of its own (`_NormSiLU`).
    """
    if x.device.type == "cpu" and x.dtype == torch.bfloat16 and torch.is_grad_enabled():
        return _NormSiLU.apply(  # type: ignore[no-untyped-call, no-any-return, unused-ignore]
            x, norm.weight, norm.bias, factor, shift, norm.num_groups, norm.eps
        )
    if factor is None or shift is None:
        return one_by_one(lambda volume: F.silu(norm(volume)), x)
    return one_by_one(lambda volume, f, s: F.silu(_modulate(norm(volume), f, s)), x, factor, shift)


def _modulate(x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift.to(x.dtype), x, factor.to(x.dtype))


class _NormSiLU(torch.autograd.Function):
    """`norm_silu` with gradients in closed form.

    PyTorch's backward pass of GroupNorm is some ten times slower than its forward pass for bf16 with the channels last, and the
    three steps keep four volumes where the input is enough: the rest is an affine map per channel, which is recomputed.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        factor: Tensor | None,
        shift: Tensor | None,
        groups: int,
        eps: float,
    ) -> Tensor:
        z, _, rstd = _group_norm(x, weight, bias, groups, eps)
        if factor is not None and shift is not None:
            z = _modulate(z, factor, shift)
        ctx.save_for_backward(x, weight, bias, factor, shift, rstd)
        ctx.groups, ctx.eps = groups, eps
        return F.silu(z)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, factor, shift, rstd = ctx.saved_tensors
        exact = rstd.dtype
        # one number per channel, (b, c): with n for the normalized x, z = k n + offset
        gain = torch.ones(x.shape[:2], dtype=exact) if factor is None else factor.to(exact).flatten(1)
        k = gain * weight
        offset = gain * bias + (0 if shift is None else shift.to(exact).flatten(1))
        n = _group_norm(x, torch.ones_like(weight), torch.zeros_like(bias), ctx.groups, ctx.eps)[0]
        z = _affine(n, k, offset)
        dz = torch.ops.aten.silu_backward.grad_input(gradients[0].to(x.dtype), z, grad_input=z)  # z is not needed again
        total, along = _sum_over_space(dz, exact), _sum_over_space(dz * n, exact)
        # dx = r (k dz - mean(k dz) - n mean(k dz n)), the means over a group
        r = _over_channels(rstd, x)
        share = x.shape[1] // ctx.groups
        mean, mean_along = (
            _over_channels((k * value).view(-1, ctx.groups, share).sum(2) / (share * x[0, 0].numel()), x)
            for value in (total, along)
        )
        dx = _affine(n, -r * mean_along, -r * mean).addcmul_(dz, _spread(r * k, x))
        dfactor = None if factor is None else (weight * along + bias * total).to(factor.dtype).view_as(factor)
        dshift = None if shift is None else total.to(shift.dtype).view_as(shift)
        return dx, (gain * along).sum(0), (gain * total).sum(0), dfactor, dshift, None, None


def _group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalized volume, and mean and 1 / deviation of each group in the precision of `weight`."""
    return torch.ops.aten.native_group_norm(  # type: ignore[no-any-return]
        x, weight, bias, x.shape[0], x.shape[1], x[0, 0].numel(), groups, eps
    )


def _over_channels(values: Float[Tensor, "b groups"], x: Tensor) -> Float[Tensor, "b c"]:
    return values.repeat_interleave(x.shape[1] // values.shape[1], dim=1)


def _affine(x: Tensor, factor: Float[Tensor, "b c"], shift: Float[Tensor, "b c"]) -> Tensor:
    return torch.addcmul(_spread(shift, x), x, _spread(factor, x))


def _spread(values: Float[Tensor, "b c"], x: Tensor) -> Tensor:
    return values.to(x.dtype)[:, :, None, None, None]


def _sum_over_space(x: Tensor, dtype: torch.dtype) -> Float[Tensor, "b c"]:
    """Sum line by line first: each bf16 sum is rounded once, and `x` is never copied to float32."""
    return x.permute(0, 2, 3, 4, 1).sum(3).to(dtype).sum((1, 2))  # the channels last: then the sum runs along memory
