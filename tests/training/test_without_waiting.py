"""A GPU must never wait for the host: what a step of training or sampling asks of CUDA, checked on tensors that only say they are there."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, ModelSettings, Preset, SamplingSettings, TrainingSettings
from frazil.dataset.examples import BoxExamples
from frazil.dataset.variation import Variation
from frazil.diffusion.sampler import sample_volumes
from frazil.diffusion.schedule import make_solver
from frazil.model.unet import build_network
from frazil.training.batches import TrainingBatches
from frazil.training.loader import AheadLoader, Waiting
from frazil.training.plan import MicroBatch
from frazil.training.task import DenoisingTask

CUDA = torch.device("cuda", 0)
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there: its tensors need not be imagined")


class Crossings(TorchDispatchMode):
    """Counts what makes host and GPU wait for each other, and the precision of convolutions."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()
        self.convolutions = Counter()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        name = operation.overloadpacket._qualified_op_name
        if name == "aten::_local_scalar_dense":
            self.counts["read by the host"] += 1
        if name in ("aten::_to_copy", "aten::copy_"):
            tensors = [value for value in arguments if isinstance(value, torch.Tensor)]
            places = {tensor.device.type for tensor in (*tensors, result)}
            if len(places) > 1 and max(tensor.numel() for tensor in tensors) > 1:
                self.counts["copied"] += 1
        if name == "aten::convolution":
            self.convolutions[arguments[0].dtype] += 1
        return result


class Slices(TorchFunctionMode):
    """Writes ``tensor[...]`` out in operations; PyTorch's own way to them asks for a CUDA device that is real."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function is not torch.Tensor.__getitem__:
            return function(*arguments, **(keywords or {}))
        tensor, items = arguments
        dim = 0
        for item in items if isinstance(items, tuple) else (items,):
            if isinstance(item, int):
                tensor = tensor.select(dim, item)
                continue
            if item is None:
                tensor = tensor.unsqueeze(dim)
            else:
                assert isinstance(item, slice)
                tensor = torch.ops.aten.slice(tensor, dim, item.start, item.stop, item.step or 1)
            dim += 1
        return tensor


@pytest.fixture(autouse=True)
def as_if_there_were_cuda(monkeypatch):
    """Let autocast believe in it; fake tensors do anyway."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)


def fast(precision):
    return Preset(
        name="fast",
        model=ModelSettings(
            base_channels=8, embedding_width=8, front_end="haar", preconditioning="edm", modulation="scale-shift",
            channel_multipliers=(1, 2),
        ),
        diffusion=DiffusionSettings(timesteps=50),
        training=TrainingSettings(precision=precision, loss_weighting="min-snr"),
    )  # fmt: skip


def move_to_cuda(module):
    """Give a module imaginary weights; its own `to` cannot."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = torch.nn.Parameter(torch.empty(weight.shape, device=CUDA), requires_grad=False)
        for name, value in part._buffers.items():
            part._buffers[name] = torch.empty(value.shape, device=CUDA)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_of_training_never_makes_a_gpu_wait(training_set, precision):
    preset = fast(precision)
    batch = TrainingBatches(BoxExamples(training_set, Variation(), seed=0), preset)[MicroBatch(0, (0, 1), 0.5)]
    task = DenoisingTask(build_network(preset.model, 2, preset.diffusion), preset)
    with FakeTensorMode(allow_non_fake_inputs=True), Slices():
        move_to_cuda(task)
        moved = task.transfer_batch_to_device(batch, CUDA, 0)
        # gradients want a real GPU; what they do is PyTorch's
        with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            task.training_step(moved, 0)  # the schedule goes along once
            with Crossings() as crossings:
                loss = task.training_step(moved, 0)["loss"]
    assert loss.device == CUDA
    assert crossings.counts == {}
    inner, last = (torch.bfloat16, 1) if precision == "bf16-mixed" else (torch.float32, 0)
    assert crossings.convolutions[inner] > 10
    assert crossings.convolutions[torch.float32] >= last


@pytest.mark.parametrize(("sampler", "steps", "copies"), [("dpm++", 5, 0), ("ddpm", 5, 5)])
def test_a_step_of_sampling_only_brings_its_noise(monkeypatch, sampler, steps, copies):
    preset = fast("bf16-mixed")

    def real_solver(*arguments):
        with unset_fake_temporarily():
            return make_solver(*arguments)

    monkeypatch.setattr("frazil.diffusion.sampler.make_solver", real_solver)
    network = build_network(preset.model, 2, preset.diffusion)
    with FakeTensorMode(allow_non_fake_inputs=True), Slices():
        move_to_cuda(network)
        condition = Condition(torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3))

        def run():
            return sample_volumes(
                network, condition, box_size_voxel=8, settings=preset.diffusion, sampling=SamplingSettings(sampler=sampler, steps=steps),
                generators=[np.random.default_rng(seed) for seed in range(2)], device=CUDA, precision="bf16-mixed",
            )  # fmt: skip

        run()
        with Crossings() as crossings:
            volumes = run()
    assert volumes.device == CUDA
    # label, position and the first noise, once; then the noise of the steps, which is drawn on the CPU
    assert crossings.counts == {"copied": 3 + copies}
    assert crossings.convolutions[torch.bfloat16] > 10 * steps


@pytest.mark.parametrize("there", [True, False])
def test_memory_is_pinned_exactly_where_there_is_cuda(training_set, monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    batches = TrainingBatches(BoxExamples(training_set, Variation(), seed=0), fast("32-true"))
    loader = AheadLoader(batches, [MicroBatch(0, (0,), 1.0)], workers=0, waiting=Waiting())
    assert loader.pin_memory == there
