"""What the optimizer descends, what the history gets, and the moving average in closed form."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from frazil.dataset.examples import BoxExamples
from frazil.dataset.variation import Variation
from frazil.diffusion.objective import denoising_errors, loss_weights
from frazil.model.unet import build_network
from frazil.training.batches import TrainingBatches
from frazil.training.plan import MicroBatch
from frazil.training.task import DenoisingTask, WarmingAverage


@pytest.mark.parametrize("weighting", ["uniform", "min-snr", "snr-plus-one"])
def test_the_weighted_mean_is_descended_and_the_plain_losses_are_reported(tiny_preset, training_set, weighting):
    training = tiny_preset.training.model_copy(update={"loss_weighting": weighting, "min_snr_gamma": 20.0})
    preset = tiny_preset.model_copy(update={"training": training})
    network = build_network(preset.model, 2)
    task = DenoisingTask(network, preset)
    batch = TrainingBatches(BoxExamples(training_set, Variation(), seed=0), preset)[
        MicroBatch(0, tuple(range(8)), 1 / 8)
    ]
    result = task.training_step(batch, 0)
    errors = denoising_errors(network, batch.volumes, batch.condition, batch.t, batch.noise, task.noise_schedule)
    std = network.front_end.band_scale()
    weights = loss_weights(batch.t, task.noise_schedule, std, weighting=weighting, min_snr_gamma=20.0)
    torch.testing.assert_close(result["losses"], errors.detach().mean(dim=1))
    torch.testing.assert_close(result["loss"], (weights * errors).mean())
    torch.testing.assert_close(task.validation_step(replace(batch, share=9.0), 0)["losses"], errors.mean(dim=1))
    assert (weights.std() > 0.1) == (weighting != "uniform")


class Task(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.0, 10.0]))
        self.device = torch.device("cpu")


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_memory_of_the_average_grows_up_to_the_decay(decay):
    task, average = Task(), WarmingAverage(decay)
    average._average_model = torch.optim.swa_utils.AveragedModel(task, multi_avg_fn=average._average)
    average.on_train_start(SimpleNamespace(), task)
    expected = torch.tensor([0.0, 10.0])
    for update in range(20):
        with torch.no_grad():
            task.weight += 1
        average._average_model.update_parameters(task)
        memory = 0.0 if update == 0 else min(decay, (1 + update) / (10 + update))
        expected = memory * expected + (1 - memory) * task.weight.detach()
    torch.testing.assert_close(average._average_model.module.weight.detach(), expected)
