"""What the optimiser descends, and what the history is told."""

from dataclasses import replace

import pytest
import torch

from frazil.diffusion.objective import denoising_loss, loss_weights
from frazil.model.unet import build_network
from frazil.training.batches import TrainingBatches
from frazil.training.module import DenoisingTask
from frazil.training.plan import MicroBatch


@pytest.mark.parametrize("weighting", ["uniform", "min-snr", "snr-plus-one"])
def test_the_weighted_mean_is_descended_and_the_plain_losses_are_reported(tiny_preset, training_set, weighting):
    training = tiny_preset.training.model_copy(update={"loss_weighting": weighting, "min_snr_gamma": 20.0})
    preset = tiny_preset.model_copy(update={"training": training})
    network = build_network(preset.model, 2)
    task = DenoisingTask(network, preset)
    batch = TrainingBatches(training_set, timesteps=50, seed=0)[MicroBatch(0, tuple(range(8)), 1 / 8)]
    result = task.training_step(batch, 0)
    losses = denoising_loss(network, batch.volumes, batch.condition, batch.t, batch.noise, task.noise_schedule)
    weights = loss_weights(batch.t, task.noise_schedule, weighting=weighting, min_snr_gamma=20.0)
    torch.testing.assert_close(result["losses"], losses.detach())
    torch.testing.assert_close(result["loss"], (weights * losses).mean())
    torch.testing.assert_close(task.validation_step(replace(batch, share=9.0), 0)["losses"], losses)
    assert (weights.std() > 0.1) == (weighting != "uniform")
