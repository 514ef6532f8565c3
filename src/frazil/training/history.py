"""What a training run remembers of itself: one row per epoch, kept in the checkpoint, written as CSV and for TensorBoard."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tensorboardX import SummaryWriter

from frazil.core.files import write_text
from frazil.core.ledger import enter
from frazil.training.folder import EVENTS_NAME, METRICS_NAME

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
    step : optimizer steps taken so far.
    samples_seen : training boxes shown so far.
    seconds : time spent training so far, over all restarts.
    waiting_seconds : of these, waiting for boxes.
    train_loss : mean of eq. 4 over the boxes of the epoch, as the network was when it saw them.
    validation_loss : mean of eq. 4 over the fixed validation pairs; None if the epoch was not validated.
    by_noise_level : mean validation loss in ten ranges of t; None if a range has no pair.
    """

    epoch: int
    step: int
    samples_seen: int
    seconds: float
    train_loss: float
    validation_loss: float | None = None
    by_noise_level: tuple[float | None, ...] = ()
    waiting_seconds: float = 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the time that was spent waiting for boxes."""
        return self.waiting_seconds / self.seconds if self.seconds else 0.0


def is_best(records: list[EpochRecord]) -> bool:
    """Return whether the newest epoch was validated and has the lowest validation loss of all."""
    losses = [record.validation_loss for record in records if record.validation_loss is not None]
    return bool(losses) and records[-1].validation_loss is not None and losses[-1] <= min(losses)


class MetricsWriter:
    """Writes `metrics.csv` and TensorBoard events; the CSV is always the whole history, whatever was interrupted."""

    def __init__(self, run: Path, *, timesteps: int) -> None:
        self.run = run
        self.levels = noise_level_names(timesteps)
        self._events: SummaryWriter | None = None

    def __call__(self, records: list[EpochRecord]) -> None:
        """Write one row per epoch, with empty cells where nothing was measured, and the newest to TensorBoard."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        columns = ["epoch", "step", "samples_seen", "seconds", "waiting_seconds", "train_loss", "validation_loss"]
        writer.writerow([*columns, *self.levels])
        for record in records:
            seconds = (f"{record.seconds:.1f}", f"{record.waiting_seconds:.2f}")
            losses = (record.train_loss, record.validation_loss, *(record.by_noise_level or (None,) * len(self.levels)))
            writer.writerow([record.epoch, record.step, record.samples_seen, *seconds, *losses])
        write_text(self.run / METRICS_NAME, stream.getvalue())
        newest = records[-1]
        values = {"loss/train": newest.train_loss, "loss/validation": newest.validation_loss}
        for name, loss in zip(self.levels, newest.by_noise_level, strict=False):
            values[f"noise_level/{name.removeprefix('validation_loss_')}"] = loss
        if self._events is None:
            before = set((self.run / EVENTS_NAME).glob("*"))
            self._events = SummaryWriter(str(self.run / EVENTS_NAME))
            for log in set((self.run / EVENTS_NAME).glob("*")) - before:
                enter(log, log, log=True)
        for name, value in values.items():
            if value is not None:
                self._events.add_scalar(name, value, newest.epoch)
        self._events.flush()

    def close(self) -> None:
        """Close the file of events."""
        if self._events is not None:
            self._events.close()
