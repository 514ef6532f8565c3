"""The denoising task as Lightning sees it: eq. 4 on batches that bring their own noise, and the average of the weights."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from frazil.core.settings import Preset
from frazil.diffusion.distillation import Distillation
from frazil.diffusion.objective import band_errors, denoising_errors, loss_weights, noise_volumes
from frazil.model.bundle import Bundle
from frazil.model.compute import Compute
from frazil.model.noise import NoiseSchedule
from frazil.model.unet import ConditionalUNet
from frazil.training.batches import NoisyBatch
from frazil.volume.layout import outside_heights


class DenoisingTask(pl.LightningModule):
    """A network, its noise schedule, its optimizer: Adam with a constant learning rate (the paper)."""

    def __init__(self, network: ConditionalUNet, preset: Preset) -> None:
        super().__init__()
        self.network = Compute.of(preset.training).lay_out(network)
        self.preset = preset
        self.noise_schedule = NoiseSchedule.from_settings(preset.diffusion)

    def errors(self, batch: NoisyBatch) -> Tensor:
        """Return the squared error of each box in each band, `(b, bands)`; their mean is the loss of the box."""
        return denoising_errors(self.network, batch.volumes, batch.condition, batch.t, batch.noise, self.noise_schedule)

    def levels(self, batch: NoisyBatch) -> Tensor:
        """Return the timestep of each box's noise, `(b,)`."""
        return batch.t

    def transfer_batch_to_device(self, batch: NoisyBatch, device: torch.device, dataloader_idx: int) -> NoisyBatch:
        """Start the copy without waiting; Lightning's own waits for all that the GPU still has to do."""
        return batch.to(device, non_blocking=True)

    def training_step(self, batch: NoisyBatch, batch_idx: int) -> dict[str, Any]:
        """Return the loss to descend, and the unweighted losses of eq. 4 for the history."""
        errors, settings = self.errors(batch), self.preset.training
        weights = loss_weights(
            self.levels(batch),
            self.noise_schedule,
            self.network.front_end.band_scale(batch.t.device),
            weighting=settings.loss_weighting,
            min_snr_gamma=settings.min_snr_gamma,
        )
        return {"loss": (weights * errors).mean(dim=1).sum() * batch.share, "losses": errors.detach().mean(dim=1)}

    def validation_step(self, batch: NoisyBatch, batch_idx: int) -> dict[str, Tensor]:
        """Return the loss and noise level of each pair."""
        return {"losses": self.errors(batch).mean(dim=1), "t": batch.t}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, constant learning rate, over the weights that are not frozen."""
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        return torch.optim.Adam(trained, lr=self.preset.training.learning_rate)


class DistillationTask(DenoisingTask):
    """A student, which is to arrive in one step where its teacher, a network that stays as it is, arrives in several."""

    def __init__(self, network: ConditionalUNet, preset: Preset, teacher: Bundle) -> None:
        super().__init__(network, preset)
        teaching = Compute.of(preset.training).lay_out(teacher.network).eval().requires_grad_(False)
        self._teacher = [teaching]  # in a list, Lightning does not take it for a part of the student
        self.guidance = teacher.card.preset.sampling
        self.heights = teacher.card.heights
        self.distillation = Distillation.of(preset.diffusion, preset.training.distill_steps)

    def levels(self, batch: NoisyBatch) -> Tensor:
        """Return the timestep at which the student's step begins."""
        return self.distillation.level(self.distillation.step_of(batch.t))

    def errors(self, batch: NoisyBatch) -> Tensor:
        """Return the squared distance of each box to what the teacher makes of it, in each band, `(b, bands)`."""
        (teacher,) = self._teacher
        teacher.to(batch.t.device)
        step, t = self.distillation.step_of(batch.t), self.levels(batch)
        x_t = noise_volumes(batch.volumes, t, batch.noise, self.noise_schedule)
        with torch.no_grad():
            told = teacher.read(batch.condition)
        push = None
        if self.guidance.height_guidance != 1 and self.heights is not None and told.layout is not None:
            push = (self.guidance.height_guidance - 1) * outside_heights(told.layout, self.heights)
        target = self.distillation.target(teacher, x_t, step, told, self.guidance.guidance, push)
        predicted = self.network(x_t, t, batch.condition)
        return band_errors(self.network, predicted.to(target.dtype), target)


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

    def averaged(self) -> ConditionalUNet | None:
        """Return the network with averaged weights; None before the training starts."""
        return None if self._average_model is None else self._average_model.module.network  # type: ignore[return-value]

    @torch.no_grad()
    def _average(self, averaged: Any, current: Any, updates: Tensor | int) -> None:
        assert self._average_model is not None
        done = int(self._average_model.n_averaged)
        memory = min(self.decay, (1 + done) / (10 + done))
        torch._foreach_lerp_(averaged, current, 1 - memory)
