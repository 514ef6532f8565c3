"""Processes that share a request: what cannot be started, and what two of them agree on."""

import os
import subprocess
import sys

import pytest
import torch

from frazil.core.errors import RequestError
from frazil.sampling.processes import Team, team

PREFIXES = ("SLURM_", "TORCHELASTIC_", "MASTER_", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in list(os.environ):
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)


def test_one_process_is_the_first_and_does_all_itself():
    with team(device="cpu") as alone:
        assert (alone.rank, alone.size, alone.device) == (0, 1, "cpu")
        assert alone.is_first
        assert alone.prepared(lambda: "prepared") == "prepared"
        assert alone.together(lambda: "done") == "done"
        alone.check_parent()
    assert not torch.distributed.is_initialized()


def test_faults_pass_through_a_single_process(refuses):
    def fail():
        raise RequestError("this: is wrong; mend it")

    with team(device="cpu") as alone:
        for call in (alone.prepared, alone.together):
            with refuses(RequestError, "this: is wrong"):
                call(fail)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"devices": 0}, ("--devices 0", "at least 1")),
        ({"num_nodes": 0}, ("--num-nodes 0", "at least 1")),
        ({"devices": 3}, ("--devices 3", "2 CPU cores", "pass --devices 2")),
        (
            {"devices": 2, "device": "cpu,cpu"},
            ("--device cpu,cpu", "--devices 2", "of its own", "--device cuda or cpu"),
        ),
        ({"num_nodes": 2}, ("--num-nodes 2", "nothing starts", "srun or torchrun")),
    ],
)
def test_what_cannot_be_started_is_refused(monkeypatch, refuses, options, parts):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with refuses(RequestError, *parts), team(**{"device": "cpu"} | options):
        pass


def cuda(monkeypatch, count):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)


def test_more_gpus_than_there_are_are_refused(monkeypatch, refuses):
    cuda(monkeypatch, 2)
    with refuses(RequestError, "--devices 4", "2 CUDA devices", "pass --devices 2"), team(device="cuda", devices=4):
        pass


SLURM = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "frazil"}


@pytest.mark.parametrize(
    ("proc", "gpus", "rank", "device"),
    [(0, 2, 0, "cuda:0"), (3, 2, 3, "cuda:1"), (3, 1, 3, "cuda:0")],  # the last: one visible GPU a task
)
def test_under_slurm_every_task_finds_its_rank_and_its_gpu(monkeypatch, proc, gpus, rank, device):
    cuda(monkeypatch, gpus)
    task = {"SLURM_PROCID": str(proc), "SLURM_LOCALID": str(proc % 2), "SLURM_NODEID": str(proc // 2)}
    for name, value in (SLURM | task).items():
        monkeypatch.setenv(name, value)
    with team(device="cuda", devices=2, num_nodes=2) as member:
        assert (member.rank, member.size, member.device) == (rank, 4, device)
        assert member.is_first == (rank == 0)


def test_another_number_of_tasks_than_slurm_has_is_refused(monkeypatch, refuses):
    cuda(monkeypatch, 4)
    for name, value in (SLURM | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}).items():
        monkeypatch.setenv(name, value)
    with refuses(RequestError, "--devices 4 --num-nodes 2", "--ntasks-per-node=2"), team(devices=4, num_nodes=2):
        pass


def test_a_process_ends_when_the_one_that_started_it_is_gone():
    Team("cpu", _parent=os.getppid()).check_parent()
    with pytest.raises(SystemExit) as stop:
        Team("cpu", _parent=os.getpid()).check_parent()
    assert stop.value.code == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_an_interrupt_is_told_by_the_first_process_alone(monkeypatch, rank):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    ended = []
    monkeypatch.setattr("os._exit", ended.append)
    with pytest.raises(KeyboardInterrupt), team(device="cpu", devices=2):
        raise KeyboardInterrupt
    assert ended == [130] * rank  # which ends it


SCRIPT = """
import os, sys
from frazil.core.errors import FrazilError, RequestError
from frazil.sampling.processes import team

def fail():
    raise RequestError("share 1: is wrong; mend it")

try:
    with team(device="cpu", devices=2) as member:
        if member.is_first:
            assert member.prepared(lambda: None) is None  # nothing to do: no process is started
        assert member.prepared(lambda: {"asked": 3}) == {"asked": 3}
        assert member.together(lambda: member.rank * 10) == member.rank * 10
        member.check_parent()
        member.together(fail if member.rank else lambda: None)
        print("not reached", member.rank)
except FrazilError as error:
    assert "LOCAL_RANK" not in os.environ
    sys.exit(f"first: {error}")
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_two_processes_agree_and_the_first_speaks_of_the_fault_of_the_other(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=200)
    assert done.stderr == "first: share 1: is wrong; mend it\n"
    assert done.stdout == ""
    assert done.returncode == 1
