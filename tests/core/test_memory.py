"""What a process may take of the machine; freed memory is kept where there is plenty, and nowhere else."""

import ctypes
import os
import subprocess
import sys

import pytest

from frazil.core import memory
from frazil.core.memory import _limits, machine_memory


class Libc:
    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, value):
        self.calls.append((parameter, value))
        return 1


@pytest.fixture
def libc(monkeypatch):
    made = Libc()
    monkeypatch.setattr(memory, "_own_processes", 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
    return made


def test_with_plenty_of_memory_it_is_kept(libc, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert memory.keep_freed_memory(2**30, 4 * 2**30)
    assert libc.calls == [(-4, 0), (-1, -1)]  # M_MMAP_MAX, M_TRIM_THRESHOLD


def test_several_processes_share_the_memory(libc, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    memory.own_process(2)
    assert not memory.keep_freed_memory(2**30, 8 * 2**30 - 1)
    assert memory.keep_freed_memory(2**30, 8 * 2**30)


def test_the_process_of_somebody_else_is_left_alone(libc, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory, "_own_processes", 0)
    assert not memory.keep_freed_memory(1, 2**40)
    assert libc.calls == []


@pytest.mark.parametrize(("platform", "has_bytes"), [("darwin", 2**40), ("win32", 2**40), ("linux", 4 * 2**30 - 1)])
def test_elsewhere_and_where_memory_is_scarce_it_is_not(libc, monkeypatch, platform, has_bytes):
    monkeypatch.setattr(sys, "platform", platform)
    assert not memory.keep_freed_memory(2**30, has_bytes)
    assert libc.calls == []


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory, "_own_processes", 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory(1, 2**30)

    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert not memory.keep_freed_memory(1, 2**30)


_FAULTS = """
import resource, sys
from frazil.core.memory import keep_freed_memory, own_process
own_process()
kept = len(sys.argv) > 1 and keep_freed_memory(1, 2**40)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(2**26)
before = faults()
for _ in range(5):
    bytearray(2**26)
print(faults() - before, kept)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is on Linux")
def test_large_blocks_are_reused_without_page_faults():
    def faults(*arguments):
        command = [sys.executable, "-c", _FAULTS, *arguments]
        count, kept = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return int(count), kept == "True"

    given_back, _ = faults()
    reused, kept = faults("keep")
    if not kept:
        pytest.skip("no glibc here")
    assert reused < given_back / 10


def test_the_memory_is_shared_by_the_processes():
    assert 0 < machine_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine_memory(4) == machine_memory() // 4


def test_the_limits_of_a_batch_system_count(tmp_path):
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    membership.write_text("1:memory:/old\n0::/slurm/job_1/step_0\n")
    (root / "slurm" / "job_1" / "step_0").mkdir(parents=True)
    (root / "slurm" / "job_1" / "step_0" / "memory.max").write_text("max\n")
    (root / "slurm" / "job_1" / "memory.max").write_text("4000\n")
    (root / "slurm" / "memory.max").write_text("9000\n")
    assert sorted(_limits(membership, root)) == [4000, 9000]
    assert _limits(tmp_path / "none", root) == []
