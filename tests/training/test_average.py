"""The moving average in closed form."""

from types import SimpleNamespace

import pytest
import torch

from frazil.training.average import WarmingAverage


class Task(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.0, 10.0]))
        self.device = torch.device("cpu")


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_memory_grows_up_to_the_decay(decay):
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
