"""The memory that this process may use."""

import os

from frazil.core.machine import _limits, machine_memory


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
