"""What a training run remembers of itself: one row an epoch, kept in the checkpoint and written as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from frazil.core.files import write_text

NOISE_LEVEL_BINS = 10


def noise_level_names(timesteps: int) -> list[str]:
    """Return the column names of the loss by noise level: ten equal ranges of t, e.g. ``validation_loss_t000_099``."""
    edges = [round(k * timesteps / NOISE_LEVEL_BINS) for k in range(NOISE_LEVEL_BINS + 1)]
    return [f"validation_loss_t{low:03d}_{high - 1:03d}" for low, high in pairwise(edges)]


@dataclass(frozen=True)
class EpochRecord:
    """The losses of one epoch.

    Parameters
    ----------
    epoch : counted from 1, as in the paper's Figure 1.
    step : optimiser steps taken so far.
    samples_seen : training boxes shown so far.
    seconds : time spent training so far, over all restarts.
    waiting_seconds : of these, waiting for boxes.
    train_loss : mean of eq. 4 over the boxes of the epoch, as the network was when it saw them.
    validation_loss : mean of eq. 4 over the fixed validation pairs; None where the epoch was not validated.
    by_noise_level : mean validation loss in ten ranges of t; None where a range has no pair.
    """

    epoch: int
    step: int
    samples_seen: int
    seconds: float
    train_loss: float
    validation_loss: float | None = None
    by_noise_level: tuple[float | None, ...] = field(default=())
    waiting_seconds: float = 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the time that went by in waiting for boxes."""
        return self.waiting_seconds / self.seconds if self.seconds else 0.0

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> EpochRecord:
        """Rebuild a record from a checkpoint."""
        return cls(**{**state, "by_noise_level": tuple(state["by_noise_level"])})

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)


def write_metrics(path: Path, records: list[EpochRecord], *, timesteps: int) -> None:
    """Write `records` as CSV, one row an epoch; empty cells where nothing was measured."""
    names = noise_level_names(timesteps)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = ["epoch", "step", "samples_seen", "seconds", "waiting_seconds", "train_loss", "validation_loss"]
    writer.writerow([*columns, *names])
    for record in records:
        levels = record.by_noise_level or (None,) * len(names)
        row: list[object] = [record.epoch, record.step, record.samples_seen, f"{record.seconds:.1f}"]
        row += [f"{record.waiting_seconds:.2f}", record.train_loss]
        writer.writerow([*row, *("" if loss is None else loss for loss in (record.validation_loss, *levels))])
    write_text(path, stream.getvalue())
