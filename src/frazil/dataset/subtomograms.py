"""The boxes of a store as a torch data set: z-scored volumes with their label and position."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from frazil.dataset.tables import POSITION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frazil.core.settings import Normalisation
    from frazil.dataset.store import BoxStore


class Subtomogram(NamedTuple):
    """One z-scored box; several of them after torch's `default_collate`, each field with a leading batch dimension.

    Parameters
    ----------
    volume : `(1, z, y, x)` float32.
    label : number of the class, as `Subtomograms` counts them.
    position : `(3,)` zyx center / extent of the tomogram, in [0, 1].
    box : its number in the store.
    extent_voxel : `(3,)` zyx extent of the tomogram in voxels of the box.
    """

    volume: Float[Tensor, "1 z y x"]
    label: int
    position: Float[Tensor, "3"]
    box: int
    extent_voxel: Float[Tensor, "3"]


class Subtomograms(Dataset[Subtomogram]):
    """The boxes of one split, z-scored (eq. 1), with label and position. A `torch.utils.data.DataLoader` takes them as they are.

    Parameters
    ----------
    store : an open box store.
    split : ``train`` or ``validation``.
    normalisation : see `BoxStore.z_scored`.
    in_memory : read all boxes now (a box of 64^3 takes 1 MB); otherwise each is read on demand.
    classes : names in the order of their numbers, at least those of the store; None takes `StoreDescription.labels`.

    Raises
    ------
    StoreError : a box is damaged.
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
        self.indices = store.boxes(split)
        rows = store.particles.iloc[self.indices]
        numbers = {label: number for number, label in enumerate(classes or store.description.labels)}
        self.labels = [numbers[label] for label in rows["label"]]
        self.positions = torch.from_numpy(rows[POSITION].to_numpy(dtype="float32", copy=True))
        voxel_size, tomograms = store.description.voxel_size_angstrom, store.description.tomograms
        extents = np.array([tomograms[run].extent_angstrom for run in rows["run"]]).reshape(-1, 3) / voxel_size
        self._extents = torch.from_numpy(extents.astype(np.float32))
        self._volumes: Tensor | None = None
        if in_memory:
            edge = store.description.box_size_voxel
            self._volumes = torch.empty((len(self.indices), 1, edge, edge, edge))
            for row in range(len(self.indices)):
                self._volumes[row] = self._load(row)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> Subtomogram:
        volume = self._load(row) if self._volumes is None else self._volumes[row]
        return Subtomogram(volume, self.labels[row], self.positions[row], int(self.indices[row]), self._extents[row])

    def _load(self, row: int) -> Float[Tensor, "1 z y x"]:
        return torch.from_numpy(self.store.z_scored(int(self.indices[row]), self.normalisation))[None]
