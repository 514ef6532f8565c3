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


def in_slurm(monkeypatch, **variables):
    for name in ("RANK", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"JOB_ID": 7, "NTASKS": 2, "NNODES": 1, **variables}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


def test_srun_must_start_the_processes_that_are_asked_for(monkeypatch, refuses):
    in_slurm(monkeypatch, STEP_NUM_TASKS=2, NTASKS_PER_NODE=2)
    Hardware(accelerator="cpu", devices=2).check()
    with refuses(SettingsError, "devices 1 on 1 nodes", "srun started 2 tasks", "--ntasks-per-node=1", "without srun"):
        Hardware(accelerator="cpu").check()
    monkeypatch.setenv("SLURM_NNODES", "2")
    with refuses(SettingsError, "devices 2 on 1 nodes", "--nodes=1"):
        Hardware(accelerator="cpu", devices=2).check()


def test_an_allocation_without_srun_is_one_machine(monkeypatch, refuses):
    in_slurm(monkeypatch)
    Hardware(accelerator="cpu").check()
    Hardware(accelerator="cpu", devices=3).check()
    with refuses(SettingsError, "num nodes 2", "start with srun", "--nodes=2 --ntasks-per-node=1"):
        Hardware(accelerator="cpu", num_nodes=2).check()
    monkeypatch.setenv("NODE_RANK", "1")  # another launcher
    Hardware(accelerator="cpu", num_nodes=2).check()
