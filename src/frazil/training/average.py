"""The exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WarmingAverage(WeightAveraging):
    """Exponential moving average of the weights whose memory grows with the run, up to `decay`.

    At update n the decay is ``min(decay, (1 + n) / (10 + n))``: a run shorter than the memory is not held back by its first weights.
    The average stays beside the weights, on their device; n stays on the CPU, where reading it makes no GPU wait.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        super().__init__(device=None, multi_avg_fn=self._average)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the weights to their device; Lightning made the average before they moved."""
        if self._average_model is not None:
            self._average_model.module.to(pl_module.device)

    @torch.no_grad()
    def _average(self, averaged: Any, current: Any, updates: Tensor | int) -> None:
        assert self._average_model is not None
        done = int(self._average_model.n_averaged)
        memory = min(self.decay, (1 + done) / (10 + done))
        torch._foreach_lerp_(averaged, current, 1 - memory)
