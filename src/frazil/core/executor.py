"""Run independent items (volumes, tomograms, runs) in this process, in several, or on a Dask cluster.

Each item's result depends on the item alone, so the output is the same byte for byte, whatever ran it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from signal import SIG_IGN, SIGINT, SIGTERM, signal
from typing import Any, TypeVar

from frazil.core.console import detail, say
from frazil.core.errors import WorkerError
from frazil.core.memory import own_process
from frazil.core.reading import one_line
from frazil.core.settings import check_number
from frazil.core.version import __version__

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 4096
"""Processes or threads; more than any machine runs."""

_MOST_AHEAD = 2 * MOST_WORKERS
_LONGEST_NAME = 100

_working, _stopping = threading.Event(), threading.Event()  # in a local worker process
_one_at_a_time = threading.Lock()  # in a Dask worker, which may have several threads


class Executor:
    """Runs items; made by `executor`."""

    def __init__(self, pool: futures.Executor | None, call: Callable[..., Any], threads: int | None) -> None:
        self._pool, self._call, self._threads = pool, call, threads

    def run(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Yield each item with its result, in the order in which they finish.

        The first error is raised, and no further item is started. The work, the items and the results must be picklable. Of
        many items few are handed out ahead.
        """
        wrapped = partial(self._call, work, self._threads)
        if self._pool is None:
            for item in items:
                result = wrapped(item)
                detail(f"{_name(item)}: done")
                yield item, result
            return
        running: dict[futures.Future[Result], Item] = {}
        finished: SimpleQueue[futures.Future[Result]] = SimpleQueue()
        waiting, room = iter(items), _MOST_AHEAD
        while True:
            for item in islice(waiting, room):
                future = self._pool.submit(wrapped, item)
                running[future] = item
                future.add_done_callback(finished.put)
            if not running:
                return
            future, room = finished.get(), 1
            item, result = running.pop(future), future.result()
            detail(f"{_name(item)}: done")
            yield item, result


def _name(item: Any) -> str:
    """Return what an item is called in the log."""
    return str(getattr(item, "run", item))[:_LONGEST_NAME]


@contextmanager
def executor(*, workers: int = 1, dask: str | None = None, threads: int | None = 1) -> Iterator[Executor]:
    """Provide what runs independent items: this process, `workers` local processes, or a Dask cluster.

    Leaving the block by an error or Ctrl-C stops local workers; items that a Dask worker has begun run to their end.

    Parameters
    ----------
    workers : local processes; 1 is this one.
    dask : address of a Dask scheduler (``tcp://HOST:8786``), or the path of its scheduler file.
    threads : of torch in each worker; with another number results may round differently. None leaves torch's choice.

    Raises
    ------
    WorkerError : a number of workers that makes no sense, no such cluster, or a worker was killed.
    """
    check_number("workers", workers, WorkerError, most=MOST_WORKERS)
    if dask is not None:
        if workers > 1:
            raise WorkerError(f"workers {workers}: a Dask cluster brings its own; leave workers out")
        with _cluster(dask) as pool:
            yield Executor(pool, partial(_on_cluster, __version__, str(Path.cwd())), threads)
    elif workers > 1:
        with _processes(workers) as pool:
            yield Executor(pool, _in_worker, threads)
    else:
        yield Executor(None, _threaded, threads)


def _threaded(work: Callable[[Item], Result], threads: int | None, item: Item) -> Result:
    """Work with a set number of torch threads."""
    if threads is None:
        return work(item)
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return work(item)
    finally:
        torch.set_num_threads(before)


def _in_worker(work: Callable[[Item], Result], threads: int | None, item: Item) -> Result:
    """Work in a local process that may be told to stop; then it ends with the item, since the pool may wait for that."""
    try:
        _working.set()
        return _threaded(work, threads, item)
    finally:
        _working.clear()
        if _stopping.is_set():
            os._exit(1)  # what was half-written is removed by now


def _on_cluster(version: str, folder: str, work: Callable[[Item], Result], threads: int | None, item: Item) -> Result:
    """Work on a machine of a cluster: in the same folder, with the same frazil, one item at a time in a process."""
    if __version__ != version:
        raise WorkerError(
            f"Dask worker on {os.uname().nodename}: has frazil {__version__}, not {version}; restart the cluster "
            "in the environment of this command"
        )
    if not Path(folder).is_dir():
        raise WorkerError(
            f"Dask worker on {os.uname().nodename}: has no folder {folder}; run in a folder that all machines share"
        )
    with _one_at_a_time, chdir(folder):
        return _threaded(work, threads, item)


@contextmanager
def _processes(workers: int) -> Iterator[futures.Executor]:
    before = set(multiprocessing.active_children())
    pool = futures.ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker, initargs=(workers,)
    )
    try:
        yield pool
    except BrokenProcessPool:
        raise WorkerError(
            f"workers {workers}: one was killed, most likely because memory ran out; rerun the same command with fewer to resume"
        ) from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()  # its result is no longer wanted
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(workers: int) -> None:
    """Leave Ctrl-C to the parent, stop cleanly when it says so, and end when it ends, however that happens."""
    own_process(workers)
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, _stop)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            with suppress(Exception):
                parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()


def _stop(*_: Any) -> None:
    """Abandon the current item, so that what is half-written is removed; without one end at once, since the pool swallows exits."""
    if not _working.is_set():
        os._exit(1)
    _stopping.set()
    signal(SIGTERM, SIG_IGN)
    raise SystemExit


@contextmanager
def _cluster(address: str) -> Iterator[futures.Executor]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise WorkerError(
            f"dask {address}: the package distributed is not installed; run: pip install 'frazil[dask]'"
        ) from None
    try:
        connected = Client(scheduler_file=address) if Path(address).is_file() else Client(address)
    except (OSError, ValueError) as fault:
        raise WorkerError(
            f"dask {address}: no scheduler answers ({one_line(fault)}); check the address, or start one with dask scheduler"
        ) from None
    with connected as client:
        if not client.scheduler_info()["workers"]:
            say(f"dask {address}: no workers yet; waiting for the first")
        pool = client.get_executor(pure=False)  # equal items are still different items
        try:
            yield pool
        except KilledWorker:
            raise WorkerError(
                f"dask {address}: several workers were killed at the same item, most likely because memory ran out; "
                "give each worker more memory, then rerun the same command to resume"
            ) from None
        except futures.CancelledError:
            raise WorkerError(
                f"dask {address}: lost the scheduler; start the cluster again, then rerun the same command to resume"
            ) from None
        finally:
            pool.shutdown(wait=False)
