"""A Dask cluster writes the same bytes as one process, though a worker is killed half-way."""

import hashlib
import os
import signal
import time
from threading import Thread

import pytest

SIMULATE = (
    "simulate --preset small --shape 24,32,32 --voxel-size 20 --ice-thickness full --particles-per-class 1 --count 4"
)


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kill_a_worker_once_there_is(pattern, folder, cluster):
    """Kill a worker process as soon as a file that matches exists; the thread ends when it is done."""

    def kill():
        while not any(folder.glob(pattern)):
            time.sleep(0.01)
        os.kill(cluster.workers[0].pid, signal.SIGKILL)

    thread = Thread(target=kill, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(("command", "first_result"), [(SIMULATE, "ExperimentRuns/*/Picks/*")])
def test_bytes_are_the_same_though_a_worker_is_killed(command, first_result, run, dask_cluster, tmp_path):
    alone, shared = tmp_path / "alone" / "out", tmp_path / "shared" / "out"
    code, _, err = run(*command.split(), alone)
    assert code == 0, err
    killing = kill_a_worker_once_there_is(first_result, shared, dask_cluster)
    code, _, err = run(*command.split(), shared, "--dask", dask_cluster.scheduler_address)
    assert code == 0, err
    assert not killing.is_alive()
    assert digests(shared) == digests(alone)
