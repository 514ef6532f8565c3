"""A loader that works ahead, and knows how long the network waited for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Sampler

T = TypeVar("T")


@dataclass
class Waiting:
    """Time that passed without a batch to compute, over all loaders that share this record."""

    seconds: float = 0.0

    def take(self) -> float:
        """Return the seconds since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


class AheadLoader(DataLoader[T]):
    """A `DataLoader` that prepares the next batch while the network computes; in a thread if it has no worker processes.

    Order and content of the batches do not change. The sampler yields an index of the data set for each whole batch. Memory is
    pinned if there is a GPU.
    """

    def __init__(self, dataset: Any, sampler: Sampler[Any], *, waiting: Waiting, workers: int = 0) -> None:
        self.waiting = waiting
        super().__init__(
            dataset,
            batch_size=None,
            sampler=sampler,
            collate_fn=_as_is,
            num_workers=workers,
            persistent_workers=False,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # without it, torch takes the seed of the workers from the process's random numbers
        )

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        """Yield the batches."""
        batches: Iterator[T] = super().__iter__()
        if not self.num_workers:
            batches = _one_ahead(batches)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.waiting.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def _one_ahead(batches: Iterator[T]) -> Iterator[T]:
    """Yield `batches`, each of which a thread takes while the one before is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        ahead = thread.submit(next, batches, None)
        while (batch := ahead.result()) is not None:
            ahead = thread.submit(next, batches, None)
            yield batch


def _as_is(batch: T) -> T:
    return batch
