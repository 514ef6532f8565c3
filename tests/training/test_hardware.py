"""Devices that exist, and the one process that speaks."""

import pytest
import torch

from frazil.core.errors import SettingsError
from frazil.training.hardware import RANKS, Hardware, is_first_process


@pytest.mark.parametrize(
    ("hardware", "gpus", "parts"),
    [
        (Hardware(accelerator="abacus"), 0, ("accelerator abacus", "auto, cpu, gpu")),
        (Hardware(accelerator="gpu"), 0, ("accelerator gpu", "choose cpu")),
        (Hardware(accelerator="gpu", devices=4), 2, ("devices 4", "at most 2")),
    ],
)
def test_what_the_machine_does_not_have_is_named(monkeypatch, refuses, hardware, gpus, parts):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with refuses(SettingsError, *parts):
        hardware.check()


@pytest.mark.parametrize(("cuda", "chosen"), [(True, "gpu"), (False, "cpu")])
def test_auto_is_cuda_or_the_cpu_and_nothing_else(monkeypatch, cuda, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert Hardware().chosen_accelerator == chosen
    assert Hardware(accelerator="cpu").chosen_accelerator == "cpu"


@pytest.mark.parametrize("name", RANKS)
def test_only_the_first_process_speaks(monkeypatch, name):
    for rank in RANKS:
        monkeypatch.delenv(rank, raising=False)
    assert is_first_process()
    monkeypatch.setenv(name, "1")
    assert not is_first_process()
