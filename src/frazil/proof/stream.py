"""Windows of tomograms as torch data sets: what a picker trains on, composed on the fly or from a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count as count_from
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from frazil.core.errors import RequestError
from frazil.core.records import Layout
from frazil.core.seeds import numpy_generator
from frazil.core.settings import TrainingSettings
from frazil.dataset.tomograms.store import TomogramStore
from frazil.dataset.tomograms.windows import Windows
from frazil.proof.picker import ball_painter, target
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.options import SamplingOptions
from frazil.sampling.request import CENTER, Request
from frazil.volume.layout import Painter
from frazil.volume.masks import instance_mask

_MULTIPLE = 8
"""Edges of windows of a store are multiples of it, as networks of three levels want."""


class LabeledWindow(TypedDict):
    """A window in which every particle is labeled.

    Parameters
    ----------
    volume : in units of the tomogram's spread, its median 0.
    classes : 0 for background, else 1 + the place in `labels` of the data set, in a ball of half of the particle's radius: targets as
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
        voxel, painter = generator.card.voxel_size_angstrom, generator.painter
        assert voxel is not None
        assert painter is not None
        for samples in generator.run(self.request, batches):
            for volume, layout in zip(samples.volumes, samples.layouts, strict=True):
                yield _labeled(volume, layout, painter, voxel)

    def __repr__(self) -> str:
        length = "endless" if self.count is None else f"{self.count} windows"
        return f"WindowStream({self.bundle}: {', '.join(self.labels)}; {length}, seed {self.request.seed})"


class WindowDataset(Dataset[LabeledWindow]):
    """Windows of a store of whole tomograms (`frazil curate --whole`), real, simulated, or composed.

    There is a window near each particle, in a random place, and a third as many anywhere. Window i of an epoch depends on
    (seed, epoch, i) alone.

    Parameters
    ----------
    store : `TomogramStore` or its folder; each window is read on demand.
    split : ``train`` or ``validation``.
    edge_voxel : of the windows; less where the tomograms are thinner.
    half_turns : turn each window by 180 degrees at random, about the axes that keep the missing wedge.
    seed : decides the windows.

    Attributes
    ----------
    epoch : set it before each pass, so that windows lie elsewhere.
    labels : names of the classes.

    Raises
    ------
    StoreError : not a store of tomograms, or damaged.
    ShapeError : tomograms thinner than 8 voxels.

    Examples
    --------
    >>> windows = WindowDataset("composed-store", edge_voxel=96)               # doctest: +SKIP
    >>> loader = torch.utils.data.DataLoader(windows, batch_size=4, shuffle=True, num_workers=2)   # doctest: +SKIP
    """

    def __init__(
        self,
        store: TomogramStore | Path | str,
        split: Literal["train", "validation"] = "train",
        *,
        edge_voxel: int = 64,
        half_turns: bool = True,
        seed: int = 0,
    ) -> None:
        self.store = store if isinstance(store, TomogramStore) else TomogramStore.open(Path(store))
        described = self.store.description
        self.labels, self.epoch = list(described.labels), 0
        self._voxel, self._half_turns, self._seed = described.voxel_size_angstrom, half_turns, seed
        radii = [described.radii_angstrom[label] / self._voxel for label in self.labels]
        self._painter = Painter(torch.from_numpy(self.store.templates), radii)
        self._windows = Windows(
            self.store, split, self._painter, TrainingSettings(half_turns=half_turns),
            edge_voxel=edge_voxel, multiple=_MULTIPLE, classes=self.labels, in_memory=False,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> LabeledWindow:
        random = numpy_generator(self._seed, "labeled window", self.epoch, index)
        cut = self._windows.cut(index, random, varied=self._half_turns)
        layout = replace(cut.layout, center_voxel=cut.layout.center_voxel - cut.start_voxel)
        return _labeled(np.ascontiguousarray(cut.volume), layout, self._painter, self._voxel)

    def __repr__(self) -> str:
        return f"WindowDataset({self.store.path}: {', '.join(self.labels)}; {len(self)} windows)"


def _labeled(
    volume: Float[np.ndarray, "z y x"], layout: Layout, painter: Painter, voxel_size_angstrom: float
) -> LabeledWindow:
    """Return a window with its targets; `layout` is in its voxels."""
    balls = ball_painter(painter.radius_voxel, 1)
    instances = instance_mask(layout, volume.shape, painter, voxel_size_angstrom)
    return LabeledWindow(
        volume=torch.from_numpy(volume)[None],
        classes=target(balls.paint(layout, (0, 0, 0), volume.shape)),
        instances=torch.from_numpy(instances.astype(np.int64)),
    )
