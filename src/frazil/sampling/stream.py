"""Samples drawn on the fly as a torch data set: training data without a folder, for as long as a training lasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count as count_from
from pathlib import Path
from typing import Unpack

import torch
from torch.utils.data import IterableDataset, get_worker_info

from frazil.core.seeds import numpy_generator
from frazil.dataset.boxes import Box
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.manifest import Sample
from frazil.sampling.options import SamplingOptions
from frazil.sampling.request import CENTER, Position, Request


class SampleStream(IterableDataset[Box]):
    """Labelled samples of a generator, one after the other.

    Classes take turns. Sample i depends on (seed, i) alone, as in `ParticleGenerator.sample`; the workers of a `DataLoader` share the
    samples without repeats. On a GPU leave `num_workers` at 0.

    Parameters
    ----------
    bundle : a folder or ``pretrained``, as in `frazil.load`; each worker opens it for itself.
    label : classes to sample, ``all`` of the bundle's by default.
    position : **z, y, x** of the particle in its tomogram, each in [0, 1]; None draws one for each sample, evenly.
    count : samples in all, the same in every epoch; None never ends.
    seed : decides the samples; in a training on several GPUs, give each process its own.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    **options : see `SamplingOptions`.

    Raises
    ------
    BundleError : not a bundle, damaged, or of a newer schema.
    RequestError : anything that cannot be served.

    Examples
    --------
    >>> stream = SampleStream(label=["ribosome", "apo-ferritin"], seed=1)        # doctest: +SKIP
    >>> for batch in torch.utils.data.DataLoader(stream, batch_size=8):          # doctest: +SKIP
    ...     logits = picker(batch["volume"])
    """

    def __init__(
        self,
        bundle: str | Path = "pretrained",
        *,
        label: str | Sequence[str] = "all",
        position: Position | None = CENTER,
        count: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Unpack[SamplingOptions],
    ) -> None:
        self.bundle, self.device = bundle, device
        generator = ParticleGenerator.from_bundle(bundle, device=device)
        labels = [label] if isinstance(label, str) else list(label)
        self.labels = generator.labels if labels == ["all"] else tuple(labels)
        self.position, self.count = position, count
        place = CENTER if position is None else position
        self.request = generator.plan(
            [Request(label=name, position=place) for name in self.labels], seed=seed, **options
        )

    def __iter__(self) -> Iterator[Box]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        generator = ParticleGenerator.from_bundle(self.bundle, device=self.device)
        for samples in generator.run(self.request, self._batches(number, workers)):
            for index, label, position, volume in samples.rows():
                yield Box(
                    volume=torch.from_numpy(volume)[None],
                    measured=torch.ones((1, *volume.shape), dtype=torch.bool),
                    label=self.labels.index(label),
                    position=torch.tensor(position, dtype=torch.float32),
                    index=index,
                )

    def _batches(self, worker: int, workers: int) -> Iterator[list[Sample]]:
        """Deal out the batches to the workers in turn."""
        size = self.request.batch_size
        for start in count_from(worker * size, workers * size):
            stop = start + size if self.count is None else min(start + size, self.count)
            if start >= stop:
                return
            yield [(index, self.labels[index % len(self.labels)], self._place(index)) for index in range(start, stop)]

    def _place(self, index: int) -> Position:
        if self.position is not None:
            return self.position
        z, y, x = numpy_generator(self.request.seed, "position", index).uniform(size=3)
        return float(z), float(y), float(x)

    def __repr__(self) -> str:
        length = "endless" if self.count is None else f"{self.count} samples"
        return f"SampleStream({self.bundle}: {', '.join(self.labels)}; {length}, seed {self.request.seed})"
