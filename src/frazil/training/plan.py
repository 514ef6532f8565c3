"""Which box is in which batch: a pure function of (seed, epoch), the same whatever was interrupted and however many devices share it.

An **epoch** shows every training box once. It is cut into **segments** of a fixed number of optimizer steps, because a run can be
resumed exactly only where a segment ends: what a kill can cost is one segment, not one epoch. Where equal segments do not fit, an
epoch leaves out a few boxes, each epoch others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from frazil.core.errors import SettingsError
from frazil.core.seeds import numpy_generator

MAX_STEPS_PER_SEGMENT = 25
"""At 64^3 and batch 16 on two CPU cores, 25 steps of the paper's network are about eight minutes in bf16, eighteen in float32."""


@dataclass(frozen=True)
class MicroBatch:
    """The boxes of one forward pass on one device.

    Parameters
    ----------
    rows : positions in the training set.
    share : factor on the *sum* of the per-box losses which, averaged over devices and accumulated passes, gives the mean loss of
        the whole batch, even where the batch does not divide evenly.
    """

    epoch: int
    rows: tuple[int, ...]
    share: float


@dataclass(frozen=True)
class EpochPlan:
    """How the boxes of an epoch are dealt to optimizer steps, devices and accumulated passes.

    Batches, of `batch_size` boxes per optimizer step over all devices, are of equal size or one smaller, never larger.
    """

    boxes: int
    batch_size: int
    devices: int = 1
    accumulate: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        smallest = self.boxes // max(self._steps, self.steps_per_epoch)
        if smallest < self.devices * self.accumulate:
            raise SettingsError(
                f"a batch of {smallest} boxes cannot be shared by {self.devices} devices x {self.accumulate} accumulated passes; "
                f"raise training.batch_size (now {self.batch_size}) or use fewer devices"
            )

    @property
    def _steps(self) -> int:
        """Optimizer steps that show every box once."""
        return math.ceil(self.boxes / self.batch_size)

    @cached_property
    def _segments(self) -> tuple[int, int]:
        """Segments in an epoch, and steps in each. It does not depend on devices, so a run may resume with another number of them.

        As few segments as keep them short, such that equal segments do not make the smallest batch smaller; where none do, those
        that leave out the fewest steps.
        """
        fewest = math.ceil(self._steps / MAX_STEPS_PER_SEGMENT)
        numbers = range(fewest, 2 * fewest + 1)
        for number in numbers:
            steps = math.ceil(self._steps / number)
            if self.boxes // (number * steps) == self.boxes // self._steps:
                return number, steps
        number = min(numbers, key=lambda number: self._steps % number)
        return number, self._steps // number

    @property
    def segments_per_epoch(self) -> int:
        """Segments in an epoch."""
        return self._segments[0]

    @property
    def steps_per_segment(self) -> int:
        """Optimizer steps in a segment."""
        return self._segments[1]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return self.segments_per_epoch * self.steps_per_segment

    def segment(self, number: int, *, rank: int = 0) -> list[MicroBatch]:
        """Return the forward passes of device `rank` in segment `number`, counted from the start of the training."""
        epoch, part = divmod(number, self.segments_per_epoch)
        order = numpy_generator(self.seed, "shuffle", epoch).permutation(self.boxes)
        batches = np.array_split(order, max(self._steps, self.steps_per_epoch))
        pieces = self.devices * self.accumulate
        passes = []
        for batch in batches[part * self.steps_per_segment : (part + 1) * self.steps_per_segment]:
            for piece in range(rank, pieces, self.devices):
                rows = tuple(int(row) for row in batch[piece::pieces])
                passes.append(MicroBatch(epoch, rows, share=pieces / len(batch)))
        return passes
