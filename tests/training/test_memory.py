"""The estimate of training memory, against the tensors that are alive in a step that is not computed."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, ModelSettings
from frazil.model.unet import build_network
from frazil.training.memory import bytes_of_a_pass, bytes_per_box

FAST = ModelSettings(front_end="haar", preconditioning="edm", modulation="scale-shift", attention_heads=4)

MEASURED_GIB = [
    # box, boxes, precision, checkpoints, peak of the process (docs/performance.md)
    (64, 1, "bf16-mixed", False, 0.46),
    (64, 4, "bf16-mixed", False, 0.71),
    (64, 16, "bf16-mixed", False, 1.41),
    (64, 4, "32-true", False, 0.94),
    (64, 16, "32-true", False, 2.28),
    (96, 1, "bf16-mixed", True, 0.59),
    (128, 1, "bf16-mixed", True, 0.87),
    (128, 1, "bf16-mixed", False, 0.91),
]


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize(("settings", "box"), [(ModelSettings(), 32), (FAST, 64)])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_box_takes_more_than_its_tensors_and_less_than_three_times_as_much(
    settings, box, precision, checkpoint, live_memory
):
    network = build_network(settings, 2, DiffusionSettings())
    network.checkpoint_activations = checkpoint
    peaks = []
    for count in (2, 4):
        with FakeTensorMode(allow_non_fake_inputs=True), live_memory() as memory:
            x = torch.empty(count, 1, box, box, box)
            condition = Condition(torch.zeros(count, dtype=torch.int64), torch.zeros(count, 3))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                predicted = network(x, torch.zeros(count, dtype=torch.int64), condition)
            (predicted - x).square().mean().backward()
        peaks.append(memory.peak)
    tensors = (peaks[1] - peaks[0]) / 2
    assert 1.3 * tensors < bytes_per_box(settings, box, precision, checkpoint_activations=checkpoint) < 3 * tensors


@pytest.mark.parametrize(("box", "boxes", "precision", "checkpoint", "gib"), MEASURED_GIB)
def test_the_estimate_is_above_what_was_measured_and_below_twice(box, boxes, precision, checkpoint, gib):
    estimate = bytes_of_a_pass(FAST, box, precision, boxes=boxes, checkpoint_activations=checkpoint)
    assert gib < estimate / 2**30 < 2 * gib + 0.2
