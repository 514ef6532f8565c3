"""Composed windows as a torch data set: what a picker trains on, without a folder, for as long as its training lasts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as count_from
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from frazil.composition.masks import instance_mask
from frazil.core.errors import RequestError
from frazil.core.records import Layout
from frazil.proof.picker import ball_painter, target
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.options import SamplingOptions
from frazil.sampling.request import CENTER, Request


class LabeledWindow(TypedDict):
    """A window in which every particle is labeled.

    Parameters
    ----------
    volume : in units of the tomogram's spread, its median 0.
    classes : 0 for background, else 1 + the place in `WindowStream.labels`, in a ball of half of the particle's radius: targets as
        octopi makes them.
    instances : number of the particle that a voxel belongs to, from 1; 0 for none.
    """

    volume: Float[Tensor, "1 z y x"]
    classes: Int64[Tensor, "z y x"]
    instances: Int64[Tensor, "z y x"]


class WindowStream(IterableDataset[LabeledWindow]):
    """Windows composed on the fly, each with a particle in its middle and the neighbors that it typically has.

    Classes take turns. Window i depends on (seed, i) alone; the workers of a `DataLoader` share the windows without repeats. On a GPU
    leave `num_workers` at 0.

    Parameters
    ----------
    bundle : a bundle that takes layouts, or ``pretrained``; each worker opens it for itself.
    count : windows in all, the same in every epoch; None never ends.
    seed : decides the windows; in a training on several GPUs, give each process its own.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    **options : see `frazil.sampling.options.SamplingOptions`.

    Raises
    ------
    BundleError : not a bundle, damaged, or of a newer schema.
    RequestError : a bundle that takes no layouts, or anything else that cannot be served.

    Examples
    --------
    >>> for batch in torch.utils.data.DataLoader(WindowStream(seed=1), batch_size=8):   # doctest: +SKIP
    ...     loss = cross_entropy(picker(batch["volume"]), batch["classes"])
    """

    def __init__(
        self,
        bundle: str | Path = "pretrained",
        *,
        count: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Unpack[SamplingOptions],
    ) -> None:
        self.bundle, self.count, self.device = bundle, count, device
        generator = ParticleGenerator.from_bundle(bundle, device=device)
        if generator.painter is None:
            raise RequestError(
                f"{bundle}: takes no layouts, so what it makes has one label; use SampleStream for boxes"
            )
        self.labels = generator.labels
        requests = [Request(label=label) for label in self.labels]
        self.request = generator.plan(requests, seed=seed, neighbours="typical", **options)

    def __iter__(self) -> Iterator[LabeledWindow]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        generator = ParticleGenerator.from_bundle(self.bundle, device=self.device)
        size, last = self.request.batch_size, self.count
        starts = (
            count_from(number * size, workers * size) if last is None else range(number * size, last, workers * size)
        )
        batches = (
            [
                (index, self.labels[index % len(self.labels)], CENTER)
                for index in range(start, start + size if last is None else min(start + size, last))
            ]
            for start in starts
        )
        for samples in generator.run(self.request, batches):
            for volume, layout in zip(samples.volumes, samples.layouts, strict=True):
                yield self._labeled(generator, volume, layout)

    def _labeled(
        self, generator: ParticleGenerator, volume: Float[np.ndarray, "z y x"], layout: Layout
    ) -> LabeledWindow:
        card, painter = generator.card, generator.painter
        assert card.voxel_size_angstrom is not None
        assert painter is not None
        radii = [card.radius_angstrom[label] / card.voxel_size_angstrom for label in card.labels]
        instances = instance_mask(layout, volume.shape, painter, card.voxel_size_angstrom)
        return LabeledWindow(
            volume=torch.from_numpy(volume)[None],
            classes=target(ball_painter(radii, 1).paint(layout, (0, 0, 0), volume.shape)),
            instances=torch.from_numpy(instances.astype(np.int64)),
        )

    def __repr__(self) -> str:
        length = "endless" if self.count is None else f"{self.count} windows"
        return f"WindowStream({self.bundle}: {', '.join(self.labels)}; {length}, seed {self.request.seed})"
