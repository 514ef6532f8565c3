"""The denoising task as Lightning sees it: eq. 4 on batches that bring their own noise."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from frazil.core.settings import Preset
from frazil.diffusion.objective import denoising_loss, loss_weights
from frazil.model.compute import Compute
from frazil.model.noise import NoiseSchedule
from frazil.training.batches import NoisyBatch


class DenoisingTask(pl.LightningModule):
    """A network, its noise schedule, its optimiser: Adam with a constant learning rate (the paper).

    Parameters
    ----------
    network : predicts the clean volume, ``network(x_t, t, condition)``.
    preset : diffusion and training settings.
    """

    def __init__(self, network: nn.Module, preset: Preset) -> None:
        super().__init__()
        self.network = Compute.of(preset.training).lay_out(network)
        self.preset = preset
        self.noise_schedule = NoiseSchedule.from_settings(preset.diffusion)

    def losses(self, batch: NoisyBatch) -> Tensor:
        """Return the loss of each box, `(b,)`, not weighted."""
        return denoising_loss(self.network, batch.volumes, batch.condition, batch.t, batch.noise, self.noise_schedule)

    def transfer_batch_to_device(self, batch: NoisyBatch, device: torch.device, dataloader_idx: int) -> NoisyBatch:
        """Start the copy and go on; Lightning's own would wait for all that the GPU has still to do."""
        return batch.to(device, non_blocking=True)

    def training_step(self, batch: NoisyBatch, batch_idx: int) -> dict[str, Any]:
        """Return the loss to descend and the losses of eq. 4 that the history adds up, which no weighting changes."""
        losses = self.losses(batch)
        settings = self.preset.training
        weights = loss_weights(
            batch.t, self.noise_schedule, weighting=settings.loss_weighting, min_snr_gamma=settings.min_snr_gamma
        )
        return {"loss": (weights * losses).sum() * batch.share, "losses": losses.detach()}

    def validation_step(self, batch: NoisyBatch, batch_idx: int) -> dict[str, Tensor]:
        """Return the loss and noise level of each pair."""
        return {"losses": self.losses(batch), "t": batch.t}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, constant learning rate, over the weights that are not frozen."""
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        return torch.optim.Adam(trained, lr=self.preset.training.learning_rate)
