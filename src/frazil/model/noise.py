"""The noise schedule in closed form: what a timestep means, for the forward process and for a network that scales by it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from frazil.core.settings import DiffusionSettings


@dataclass(frozen=True)
class NoiseSchedule:
    """The variances of the forward process, beta linear in t (the paper; Ho et al. 2020).

    Parameters
    ----------
    betas : `(T,)` variance added by step t.
    alphas_cumprod : `(T,)` abar_t, the share of the signal's variance that is left after step t.
    """

    betas: Float64[Tensor, "T"]
    alphas_cumprod: Float64[Tensor, "T"]
    _elsewhere: dict[torch.device, Float64[Tensor, "T"]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_settings(cls, settings: DiffusionSettings) -> NoiseSchedule:
        """Compute the schedule in float64 on the CPU."""
        betas = torch.linspace(
            settings.beta_start, settings.beta_end, settings.timesteps, dtype=torch.float64, device="cpu"
        )
        return cls(betas, torch.cumprod(1 - betas, dim=0))

    def abar(self, t: Int64[Tensor, "b"]) -> Float64[Tensor, "b"]:
        """Return abar_t of every timestep, on the device of `t`; a copy is kept there, since copying at every step makes a GPU wait."""
        if t.device == self.alphas_cumprod.device:
            return self.alphas_cumprod.index_select(0, t)
        if t.device not in self._elsewhere:
            self._elsewhere[t.device] = self.alphas_cumprod.to(t.device)
        return self._elsewhere[t.device].index_select(0, t)

    def __len__(self) -> int:
        return int(self.betas.shape[0])
