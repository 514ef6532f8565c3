"""The boxes of a store as a torch data set of plain tensors, for any training loop: a picker's, a classifier's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import Dataset

from frazil.core.errors import RequestError
from frazil.core.settings import Normalisation
from frazil.dataset.store import BoxStore
from frazil.dataset.tables import POSITION


class Box(TypedDict):
    """One labelled box.

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
        self.normalisation = normalisation
        known = self.store.description.labels
        self.labels = known if labels is None else tuple(labels)
        if unknown := [label for label in self.labels if label not in known]:
            raise RequestError(f"label {unknown[0]!r}: {self.store.path} does not have it; it has {', '.join(known)}")
        rows = self.store.particles
        kept = rows["label"].isin(self.labels) & (rows["split"].eq(split) | (split == "all"))
        self.indices = rows.loc[kept, "box"].to_numpy(dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> Box:
        index = int(self.indices[row])
        particle = self.store.particles.iloc[index]
        return Box(
            volume=torch.from_numpy(self.store.z_scored(index, self.normalisation))[None],
            measured=torch.from_numpy(self.store.measured(index))[None],
            label=self.labels.index(particle["label"]),
            position=torch.from_numpy(particle[POSITION].to_numpy(dtype=np.float32)),
            index=index,
        )

    def __repr__(self) -> str:
        return f"BoxDataset({self.store.path}: {len(self)} boxes of {', '.join(self.labels)})"
