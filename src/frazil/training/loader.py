"""A loader that works ahead, and knows how long the network waited for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch.utils.data import DataLoader

T = TypeVar("T")


@dataclass
class Waiting:
    """Time that went by without a batch to compute, over all loaders that share this record."""

    seconds: float = 0.0

    def take(self) -> float:
        """Return the seconds since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


class AheadLoader(DataLoader[T]):
    """A `DataLoader` that prepares the next batch while the network computes; in a thread where it has no worker processes.

    Order and content of the batches do not change.

    Parameters
    ----------
    waiting : where the time is added up that is spent in waiting for a batch.
    """

    def __init__(self, dataset: Any, *, waiting: Waiting, **options: Any) -> None:
        self.waiting = waiting
        super().__init__(dataset, **options)

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        """Yield the batches."""
        fetch: Callable[[], T | None] = partial(next, super().__iter__(), None)
        if self.num_workers:
            yield from self._timed(fetch)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            ahead: Future[T | None] = thread.submit(fetch)

            def take() -> T | None:
                nonlocal ahead
                batch = ahead.result()
                if batch is not None:
                    ahead = thread.submit(fetch)
                return batch

            yield from self._timed(take)

    def _timed(self, fetch: Callable[[], T | None]) -> Iterator[T]:
        while True:
            began = time.perf_counter()
            batch = fetch()
            self.waiting.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch
