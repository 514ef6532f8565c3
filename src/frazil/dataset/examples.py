"""What a network learns from, one volume at a time: the boxes of a store, or windows of whole tomograms."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from frazil.core.records import NULL_LABEL, Condition, hidden_layout
from frazil.core.seeds import numpy_generator
from frazil.dataset.boxes import Subtomogram, Subtomograms
from frazil.dataset.variation import Variation


class Example(NamedTuple):
    """One volume and its condition, each field as in `Condition` without the batch dimension.

    `key` names it among all of its data set: its noise descends from it.
    """

    volume: Float[Tensor, "1 z y x"]
    label: int
    position: Float[Tensor, "3"]
    key: int
    layout: Float[Tensor, "planes z y x"] | None = None
    tilt_range_degrees: Float[Tensor, "2"] | None = None

    def without_label(self) -> Example:
        """Return the example with its label and its layout hidden."""
        layout = None if self.layout is None else hidden_layout(self.layout)
        return self._replace(label=NULL_LABEL, layout=layout)


class Examples(Protocol):
    """A fixed number of examples, which may look different in every epoch."""

    def __len__(self) -> int: ...

    def drawn(self, row: int, epoch: int) -> Example:
        """Return an example as this epoch shows it."""

    def fixed(self, row: int) -> Example:
        """Return it as it always is, to validate and to measure."""


class BoxExamples:
    """The boxes of a split, cut and varied; a box is shown once in an epoch."""

    def __init__(self, boxes: Subtomograms, variation: Variation, *, seed: int) -> None:
        self.boxes = boxes
        self.variation = variation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.boxes)

    def drawn(self, row: int, epoch: int) -> Example:
        """See `Examples`."""
        if not self.variation.varies:
            return self.fixed(row)
        item = self.boxes[row]
        return _example(self.variation.vary(item, numpy_generator(self.seed, "variation", epoch, item.box)))

    def fixed(self, row: int) -> Example:
        """See `Examples`."""
        return _example(self.variation.middle(self.boxes[row]))


def _example(item: Subtomogram) -> Example:
    return Example(item.volume, item.label, item.position, item.box)


def join(examples: list[Example]) -> tuple[Float[Tensor, "b 1 z y x"], Condition]:
    """Return the volumes and the condition of a batch."""

    def stacked(parts: list[Tensor | None]) -> Tensor | None:
        return torch.stack([part for part in parts if part is not None]) if parts[0] is not None else None

    volumes, labels, positions, _, layouts, tilts = (list(column) for column in zip(*examples, strict=True))
    condition = Condition(torch.tensor(labels), torch.stack(positions), stacked(layouts), stacked(tilts))
    return torch.stack(volumes), condition
