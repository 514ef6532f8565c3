"""The boxes of a store as torch data sets: `Subtomograms` for our own training, `BoxDataset` for any training loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import Dataset

from frazil.core.errors import RequestError
from frazil.core.settings import Normalisation
from frazil.dataset.store import BoxStore
from frazil.dataset.tables import POSITION


class Subtomogram(NamedTuple):
    """One z-scored box; several of them after torch's `default_collate`, each field with a leading batch dimension.

    Parameters
    ----------
    volume : `(1, z, y, x)` float32.
    label : number of the class, as `Subtomograms` counts them.
    position : `(3,)` zyx center / extent of the tomogram, in [0, 1].
    box : its number in the store.
    extent_voxel : `(3,)` zyx extent of the tomogram in voxels of the box.
    last_position : `(3,)` position of the last voxel of the tomogram.
    """

    volume: Float[Tensor, "1 z y x"]
    label: int
    position: Float[Tensor, "3"]
    box: int
    extent_voxel: Float[Tensor, "3"]
    last_position: Float[Tensor, "3"]


class Subtomograms(Dataset[Subtomogram]):
    """The boxes of one split, z-scored (eq. 1), with label and position.

    Parameters
    ----------
    split : ``train``, ``validation``, or ``all``.
    normalisation : see `BoxStore.z_scored`.
    in_memory : read all boxes now (a box of 64^3 takes 1 MB); otherwise each is read on demand.
    classes : names in the order of their numbers; boxes of other classes are left out. None takes those of the store.
    """

    def __init__(
        self,
        store: BoxStore,
        split: str,
        normalisation: Normalisation,
        *,
        in_memory: bool = True,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.store = store
        self.normalisation = normalisation
        names = store.description.labels if classes is None else classes
        numbers = {label: number for number, label in enumerate(names)}
        rows = store.particles
        rows = rows[rows["label"].isin(numbers) & (rows["split"].eq(split) | (split == "all"))]
        self.indices = rows["box"].to_numpy(dtype=np.int64)
        self.labels = [numbers[label] for label in rows["label"]]
        self.positions = torch.from_numpy(rows[POSITION].to_numpy(dtype="float32", copy=True))
        voxel_size, tomograms = store.description.voxel_size_angstrom, store.description.tomograms
        extents = np.array([tomograms[run].extent_angstrom for run in rows["run"]]).reshape(-1, 3) / voxel_size
        self._extents = torch.from_numpy(extents.astype(np.float32))
        shapes = np.array([tomograms[run].shape_voxel for run in rows["run"]]).reshape(-1, 3)
        self._last_positions = torch.from_numpy((1 - 1 / shapes).astype(np.float32))
        self._volumes: Tensor | None = None
        if in_memory:
            self._volumes = torch.empty((len(self), 1, *[store.description.box_size_voxel] * 3))
            for row in range(len(self)):
                self._volumes[row] = self._load(row)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> Subtomogram:
        volume = self._load(row) if self._volumes is None else self._volumes[row]
        return Subtomogram(
            volume,
            self.labels[row],
            self.positions[row],
            int(self.indices[row]),
            self._extents[row],
            self._last_positions[row],
        )

    def _load(self, row: int) -> Float[Tensor, "1 z y x"]:
        return torch.from_numpy(self.store.z_scored(int(self.indices[row]), self.normalisation))[None]


class Box(TypedDict):
    """One labeled box.

    Parameters
    ----------
    volume : `(1, z, y, x)` float32, z-scored; particles are dark and centered at voxel `D // 2`.
    measured : `(1, z, y, x)` which voxels were measured; the others are padding.
    label : number of the class in `labels` of the data set.
    position : `(3,)` zyx, center in the tomogram divided by its extent, in [0, 1].
    index : number of the box in its store, or of the sample in its stream.
    """

    volume: Float[Tensor, "1 z y x"]
    measured: Bool[Tensor, "1 z y x"]
    label: int
    position: Float[Tensor, "3"]
    index: int


class BoxDataset(Dataset[Box]):
    """Boxes that `frazil curate` cut, z-scored (eq. 1); a box is read on demand, in any `DataLoader` worker.

    Parameters
    ----------
    store : folder of a box store, or an open one.
    split : ``train``, ``validation``, or ``all`` of them.
    normalisation : ``measured`` takes mean and standard deviation over the measured voxels, and the others become 0; ``padded``
        over the whole box (the paper).
    labels : only boxes of these classes, which are numbered in this order; None is all, as the store numbers them.

    Raises
    ------
    StoreError : not a box store, or a damaged one.
    RequestError : a class that the store does not have.

    Examples
    --------
    >>> boxes = BoxDataset("boxes", split="train")                          # doctest: +SKIP
    >>> loader = torch.utils.data.DataLoader(boxes, batch_size=16, shuffle=True, num_workers=2)  # doctest: +SKIP
    """

    def __init__(
        self,
        store: str | Path | BoxStore,
        *,
        split: Literal["train", "validation", "all"] = "train",
        normalisation: Normalisation = "measured",
        labels: Sequence[str] | None = None,
    ) -> None:
        self.store = store if isinstance(store, BoxStore) else BoxStore.open(Path(store))
        known = self.store.description.labels
        self.labels = known if labels is None else tuple(labels)
        if unknown := [label for label in self.labels if label not in known]:
            raise RequestError(f"label {unknown[0]!r}: {self.store.path} does not have it; it has {', '.join(known)}")
        self._items = Subtomograms(self.store, split, normalisation, in_memory=False, classes=self.labels)
        self.indices = self._items.indices

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, row: int) -> Box:
        item = self._items[row]
        measured = torch.from_numpy(self.store.measured(item.box))[None]
        return Box(volume=item.volume, measured=measured, label=item.label, position=item.position, index=item.box)

    def __repr__(self) -> str:
        return f"BoxDataset({self.store.path}: {len(self)} boxes of {', '.join(self.labels)})"
