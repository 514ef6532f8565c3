"""Devices and batch sizes, on a machine without CUDA."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from frazil.core.errors import RequestError
from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, ModelSettings
from frazil.model.devices import (
    bytes_per_box,
    check_memory,
    choose_device,
    default_batch_size,
)
from frazil.model.unet import build_network

CPU = torch.device("cpu")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


@without_cuda
def test_auto_is_the_cpu_without_cuda():
    assert choose_device("auto") == CPU


@without_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_cuda_is_refused(device, refuses):
    with refuses(RequestError, "device 'cuda", "no CUDA device", "cpu or auto"):
        choose_device(device)


@pytest.mark.parametrize("device", ["gpu", "", "meta"])
def test_unknown_devices_are_refused(device, refuses):
    with refuses(RequestError, f"device '{device}'", "auto, cpu, cuda"):
        choose_device(device)


@pytest.mark.parametrize(("box", "batch"), [(64, 1), (96, 1), (32, 8), (48, 2), (16, 32)])
def test_a_cpu_takes_as_many_small_boxes_as_one_large_one_has_voxels(box, batch):
    assert default_batch_size(CPU, ModelSettings(), box) == batch


HAAR = ModelSettings(front_end="haar")
EVERYTHING = ModelSettings(front_end="haar", preconditioning="edm", modulation="scale-shift", attention_heads=4)


@pytest.mark.parametrize(("box", "batch"), [(64, 8), (96, 2), (128, 1), (32, 32)])
def test_a_front_end_makes_room_for_eight_times_as_many(box, batch):
    assert default_batch_size(CPU, HAAR, box) == batch


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(("settings", "box"), [(ModelSettings(), 64), (HAAR, 128)])
def test_the_estimate_of_memory_is_a_bound_and_not_far_off(settings, box, precision, live_memory):
    network = build_network(settings, 2).eval()
    count = 2
    with (
        torch.no_grad(),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"),
        live_memory() as memory,
    ):
        condition = Condition(torch.zeros(count, dtype=torch.int64), torch.zeros(count, 3))
        network(torch.empty(count, 1, box, box, box), torch.zeros(count, dtype=torch.int64), condition)
    estimate = count * bytes_per_box(settings, box, precision)
    # what kernels need beside the tensors was measured to be up to as much again
    assert 1.5 * memory.peak < estimate < 3 * memory.peak


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize(("settings", "box"), [(ModelSettings(), 32), (EVERYTHING, 64)])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_with_gradients_a_box_takes_more_than_its_tensors_and_less_than_three_times_as_much(
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
    estimate = bytes_per_box(settings, box, precision, gradients=True, checkpoint_activations=checkpoint)
    assert 1.3 * tensors < estimate < 3 * tensors


@pytest.mark.parametrize(
    ("gigabytes", "box", "batch", "precision", "parts"),
    [
        (
            8,
            64,
            32,
            "32-true",
            ("a batch of 32 boxes of 64 voxels needs about 12.2 GiB", "cpu has 8.0 GiB", "size of 20"),
        ),
        (1, 96, 1, "32-true", ("a batch of 1 boxes of 96 voxels", "bf16-mixed and a batch size of 1")),
        (0.1, 64, 1, "bf16-mixed", ("0.2 GiB", "0.1 GiB", "use a larger device", "boxes of at most 48 voxels")),
    ],
)
def test_a_batch_that_cannot_fit_is_refused_with_what_would(
    monkeypatch, refuses, gigabytes, box, batch, precision, parts
):
    monkeypatch.setattr("frazil.model.devices.memory_of", lambda device, processes=1: int(gigabytes * 2**30))
    with refuses(RequestError, *parts):
        check_memory(CPU, ModelSettings(), box, batch_size=batch, precision=precision)
    check_memory(CPU, ModelSettings(), 8, batch_size=1, precision=precision)


def test_processes_that_share_a_cpu_share_its_memory(monkeypatch, refuses):
    monkeypatch.setattr("frazil.model.devices.memory_of", lambda device, processes=1: 2**30 // processes)
    check_memory(CPU, ModelSettings(), 64, batch_size=2, precision="32-true")
    with refuses(RequestError, "batch of 2", "0.5 GiB", "batch size of 1"):
        check_memory(CPU, ModelSettings(), 64, batch_size=2, precision="32-true", processes=2)
