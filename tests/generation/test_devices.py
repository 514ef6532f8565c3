"""Devices and batch sizes, on a machine without CUDA."""

import pytest
import torch

from frazil.errors import RequestError
from frazil.generation.devices import choose_devices, default_batch_size
from frazil.settings import ModelSettings

CPU = (torch.device("cpu"),)
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


def test_several_devices_are_joined_by_commas():
    assert choose_devices("cpu, cpu") == CPU * 2


@without_cuda
def test_auto_is_the_cpu_without_cuda():
    assert choose_devices("auto") == CPU


@without_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cpu,cuda"])
def test_cuda_without_cuda_is_refused(device, refuses):
    with refuses(RequestError, "device 'cuda", "no CUDA device", "--device cpu"):
        choose_devices(device)


@pytest.mark.parametrize("device", ["gpu", "", "meta"])
def test_unknown_devices_are_refused(device, refuses):
    with refuses(RequestError, f"device '{device}'", "auto, cpu, cuda"):
        choose_devices(device)


@pytest.mark.parametrize(("box", "batch"), [(64, 1), (96, 1), (32, 8), (48, 2), (16, 32)])
def test_a_cpu_takes_as_many_small_boxes_as_one_large_one_has_voxels(box, batch):
    assert default_batch_size(CPU, ModelSettings(), box) == batch
