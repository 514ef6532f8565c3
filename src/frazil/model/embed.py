"""Timestep and condition as one vector. A new conditioning variable is one field of `Condition` and one embedding here."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.core.records import Condition
from frazil.core.settings import Conditioning
from frazil.model.layers import start_at_zero
from frazil.model.steady import SteadyLinear, SteadySiLU


def sinusoid(t: Int64[Tensor, "b"], width: int) -> Float[Tensor, "b w"]:
    """Embed timesteps as sines, then cosines, of frequencies ``10000^(-i / (width/2 - 1))``.

    Always float32: in bf16 neighboring timesteps would coincide. `width` is even and at least 4.
    """
    half = width // 2
    rate = -math.log(10000.0) / (half - 1)
    frequencies = torch.exp(torch.arange(half, device=t.device, dtype=torch.float32) * rate)
    angles = t.to(torch.float32)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def null_label_one_hot(label: Int64[Tensor, "b"], label_count: int) -> Float[Tensor, "b k"]:
    """Return one-hot rows; the null label (any below 0) gives a row of zeros."""
    return F.one_hot(label.clamp(min=0), label_count).to(torch.float32) * (label >= 0)[:, None]


class ConditionEmbedding(nn.Module):
    """Timestep, class and position, joined to one condition vector for every residual block.

    ``concat`` (the paper): the sinusoid of t, a linear projection of the one-hot class and an MLP of the position, side
    by side. ``sum`` (the authors' code and weights): the sinusoid also passes an MLP, and the three vectors are added.

    Nulls, for training without a condition and for guidance: `NULL_LABEL` is a one-hot row of zeros, which leaves only the
    projection's bias; a position with NaN contributes a vector of zeros. A null label means something only to a network that
    saw it in training (`TrainingSettings.class_dropout`). `width` is that of each of the three vectors.

    With `tilts`, a projection of the tilt range (in right angles) is added to the vector of the position; it starts at zero.
    """

    def __init__(self, label_count: int, width: int, conditioning: Conditioning, *, tilts: bool = False) -> None:
        super().__init__()
        self.label_count = label_count
        self.width = width
        self.conditioning = conditioning
        self.time: nn.Module = nn.Identity()
        if conditioning == "sum":
            self.time = nn.Sequential(SteadyLinear(width, width), SteadySiLU(), SteadyLinear(width, width))
        self.label = SteadyLinear(label_count, width)
        self.position = nn.Sequential(SteadyLinear(3, width), SteadySiLU(), SteadyLinear(width, width))
        self.tilts = start_at_zero(SteadyLinear(2, width)) if tilts else None

    @property
    def out_width(self) -> int:
        """Width of the joint condition vector."""
        return self.width if self.conditioning == "sum" else 3 * self.width

    def forward(self, t: Int64[Tensor, "b"], condition: Condition) -> Float[Tensor, "b w"]:
        """Return the condition vectors of a batch; the position is `(b, 3)` zyx."""
        time = self.time(sinusoid(t, self.width))
        label = self.label(null_label_one_hot(condition.label, self.label_count))
        known = condition.position.isfinite().all(dim=1, keepdim=True)
        position = self.position(condition.position.where(known, 0.0)) * known
        if self.tilts is not None and condition.tilt_range_degrees is not None:
            known = condition.tilt_range_degrees.isfinite().all(dim=1, keepdim=True)
            position = position + self.tilts(condition.tilt_range_degrees.where(known, 0.0) / 90) * known
        if self.conditioning == "sum":
            return time + label + position  # type: ignore[no-any-return]
        return torch.cat([time, label, position], dim=1)
