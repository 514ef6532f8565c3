"""Items give the same results whatever runs them; a killed worker, a missing cluster and errors end in one line."""

import importlib
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import Timer

import pytest
import torch

from frazil.core.errors import PickError, WorkerError
from frazil.core.executor import executor

JOBS = """
import os, signal, time
from pathlib import Path
from frazil.core.errors import PickError

def square(item, *, out=None):
    import torch  # heavy, and the other jobs do without

    if out is not None:
        Path(out, str(item)).touch()
    return item**2, torch.get_num_threads()

def refuse(item):
    raise PickError(f"pick {item}: refused")

def die(item):
    os.kill(os.getpid(), signal.SIGKILL)

def die_once(item, *, out):
    "Kill the worker that has item 3, the first time."
    if item == 3 and not Path(out, "died").exists():
        Path(out, "died").touch()
        die(item)
    time.sleep(0.05)
    return item**2

def sleep(item):
    "Item 0 returns, the others take for ever."
    Path(str(os.getpid())).touch()
    if item:
        time.sleep(600)
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A module that other processes can import."""
    (tmp_path / "executor_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("executor_jobs")
    del sys.modules["executor_jobs"]


def test_this_process_works_with_one_thread_and_gives_the_others_back(jobs):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with executor() as pool:
            assert list(pool.run(jobs.square, [3, 2])) == [(3, (9, 1)), (2, (4, 1))]
            with pytest.raises(PickError):
                list(pool.run(jobs.refuse, [1]))
        assert torch.get_num_threads() == 2
        with executor(threads=None) as pool:
            assert list(pool.run(jobs.square, [3])) == [(3, (9, 2))]
    finally:
        torch.set_num_threads(before)


def test_processes_give_the_same_results_and_pass_errors_on(jobs, tmp_path):
    with executor(workers=2) as pool:
        results = dict(pool.run(partial(jobs.square, out=tmp_path), range(5)))
    assert results == {item: (item**2, 1) for item in range(5)}
    assert all((tmp_path / str(item)).exists() for item in range(5))
    with pytest.raises(PickError, match="pick 7: refused"), executor(workers=2, threads=None) as pool:
        list(pool.run(jobs.refuse, [7, 7]))


def test_a_killed_process_is_named_with_the_remedy(jobs, refuses):
    with refuses(WorkerError, "workers 2", "killed", "fewer"), executor(workers=2, threads=None) as pool:
        list(pool.run(jobs.die, [1, 2]))


def test_processes_end_when_their_parent_is_killed(jobs, tmp_path):
    code = (
        "from executor_jobs import sleep; from frazil.core.executor import executor\n"
        "if __name__ == '__main__':\n with executor(workers=2, threads=None) as pool: list(pool.run(sleep, [1, 2]))"
    )
    (tmp_path / "parent.py").write_text(code)
    with subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path) as parent:
        while not (workers := [int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()]):
            time.sleep(0.05)
        parent.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_error_of_the_caller_stops_processes_at_once(jobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()

    def interrupt():
        with executor(workers=2, threads=None) as pool:
            for item, _ in pool.run(jobs.sleep, [0, 1]):
                raise KeyboardInterrupt(item)

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("options", "names"), [({"workers": 0}, "workers 0"), ({"workers": 2, "dask": "x"}, "workers 2")]
)
def test_a_number_of_workers_that_makes_no_sense(options, names, refuses):
    with refuses(WorkerError, names), executor(**options):
        pass


@pytest.fixture(scope="module")
def dask():
    return pytest.importorskip("dask")


@pytest.fixture
def cluster(jobs, dask_cluster):
    """Its workers can import the jobs."""
    return dask_cluster


def test_a_cluster_gives_the_same_results_though_a_worker_is_killed(jobs, cluster, tmp_path, monkeypatch, refuses):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with executor(dask=cluster.scheduler_address) as pool:
        assert dict(pool.run(partial(jobs.square, out="."), range(3))) == {item: (item**2, 1) for item in range(3)}
        assert Path("2").exists()  # relative paths start where the command runs
        assert dict(pool.run(partial(jobs.die_once, out=tmp_path), range(8))) == {item: item**2 for item in range(8)}
    assert (tmp_path / "died").exists()
    with pytest.raises(PickError, match="pick 7: refused"), executor(dask=cluster.scheduler_address) as pool:
        list(pool.run(jobs.refuse, [7, 7]))
    cluster.scheduler.allowed_failures = 0
    with (
        refuses(WorkerError, cluster.scheduler_address, "killed", "memory"),
        executor(dask=cluster.scheduler_address) as pool,
    ):
        list(pool.run(jobs.die, [1]))


def test_a_cluster_without_workers_is_waited_for_and_one_that_goes_away_is_named(dask, tmp_path, refuses, capsys):
    file = tmp_path / "scheduler.json"
    command = [
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--dashboard-address",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(
        [sys.executable, *command, "--scheduler-file", str(file)], stderr=subprocess.DEVNULL
    ) as scheduler:
        while not file.exists():
            time.sleep(0.05)
        with refuses(WorkerError, str(file), "lost the scheduler", "rerun"), executor(dask=str(file)) as pool:
            running = pool.run(abs, [1])
            Timer(0.5, scheduler.kill).start()
            next(running)
    assert "no workers yet" in capsys.readouterr().out


def test_a_cluster_that_is_not_there(dask, refuses, tmp_path):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        refuses(WorkerError, "tcp://127.0.0.1:9", "no scheduler answers"),
        executor(dask="tcp://127.0.0.1:9"),
    ):
        pass
    with refuses(WorkerError, "dask nowhere", "no scheduler answers"), executor(dask="nowhere"):
        pass


def test_a_missing_package_is_named(monkeypatch, refuses):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with refuses(WorkerError, "pip install 'frazil[dask]'"), executor(dask="tcp://127.0.0.1:9"):
        pass


def test_of_many_items_few_are_handed_out_ahead(monkeypatch):
    monkeypatch.setattr("frazil.core.executor._MOST_AHEAD", 3)
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    with executor(workers=2) as pool:
        for done, (item, result) in enumerate(pool.run(abs, items()), start=1):
            assert item == result
            assert len(taken) <= done + 3
    assert taken == list(range(20))
