"""What happens around the steps of a training: adding up losses, saving and stopping in time, showing progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from rich.progress import Progress, TaskID
from torch import Tensor

from frazil.core.errors import TrainingError
from frazil.core.log import note
from frazil.training.batches import NoisyBatch
from frazil.training.history import NOISE_LEVEL_BINS, EpochRecord, is_best
from frazil.training.loader import Waiting
from frazil.training.plan import EpochPlan

_DRAW_SECONDS = 0.2
_PRINT_SECONDS = 10.0


def segments_done(trainer: pl.Trainer) -> int:
    """Return how many segments were trained to their end, over all restarts. A segment is what Lightning calls an epoch."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return int(progress.processed)


class Bookkeeper(Callback):
    """Adds up losses over segments, devices and restarts; makes one `EpochRecord` per epoch.

    `on_epoch` is called on the first process with all records after each epoch.
    """

    def __init__(
        self, plan: EpochPlan, *, timesteps: int, on_epoch: Callable[[list[EpochRecord]], None], waiting: Waiting
    ) -> None:
        self.plan = plan
        self.timesteps = timesteps
        self.on_epoch = on_epoch
        self.records: list[EpochRecord] = []
        self.epoch_ended = False
        """With the last segment."""
        self.seconds = 0.0
        self.waiting_seconds = 0.0
        self.loss_sum = torch.zeros((), dtype=torch.float64)
        self.validated: Tensor | None = None
        self._waiting = waiting
        self._began = time.monotonic()
        self._segment_losses: list[Tensor] = []
        self._validation_losses: list[tuple[Tensor, Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began = time.monotonic()
        self._waiting.take()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the losses on their device; they are added up when the segment ends, so that a GPU never waits."""
        self._segment_losses.append(outputs["losses"])

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: NoisyBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the losses and noise levels of a batch on their device."""
        self._validation_losses.append((outputs["losses"], outputs["t"]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sort the losses by noise level and add up what the devices measured."""
        sums = torch.zeros(NOISE_LEVEL_BINS, 2, dtype=torch.float64)
        for losses, t in self._validation_losses:
            bins = (t.cpu() * NOISE_LEVEL_BINS).div(self.timesteps, rounding_mode="floor")
            counted = torch.stack([losses.double().cpu(), torch.ones(len(t), dtype=torch.float64)], dim=1)
            sums.index_add_(0, bins, counted)
        self._validation_losses.clear()
        self.validated = _sum_over_devices(trainer, pl_module, sums)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the segment, and the epoch if it ends here."""
        if self._segment_losses:
            total = torch.cat(self._segment_losses).double().sum().cpu()
            self.loss_sum = self.loss_sum + _sum_over_devices(trainer, pl_module, total)
            self._segment_losses.clear()
            of_all = self.loss_sum + (0 if self.validated is None else self.validated.sum())
            if not torch.isfinite(of_all):  # before anything of it is saved
                raise TrainingError(
                    f"the loss is {float(of_all)} at step {trainer.global_step}; nothing of it was saved: "
                    "train into another folder with a lower training.learning_rate, or with precision 32-true"
                )
        now = time.monotonic()
        self.seconds += now - self._began
        self.waiting_seconds += self._waiting.take()
        self._began = now
        epoch, rest = divmod(segments_done(trainer), self.plan.segments_per_epoch)
        self.epoch_ended = rest == 0
        if self.epoch_ended:
            self.records.append(self._close_epoch(epoch, trainer.global_step))
            if trainer.is_global_zero:
                self.on_epoch(self.records)

    def _close_epoch(self, epoch: int, step: int) -> EpochRecord:
        losses: dict[str, Any] = {}
        if self.validated is not None:
            sums, counts = self.validated.unbind(1)
            by_level = tuple(float(loss / count) if count else None for loss, count in zip(sums, counts, strict=True))
            losses = {"validation_loss": float(sums.sum() / counts.sum()), "by_noise_level": by_level}
        record = EpochRecord(
            epoch=epoch,
            step=step,
            samples_seen=epoch * self.plan.boxes,
            seconds=self.seconds,
            waiting_seconds=self.waiting_seconds,
            train_loss=float(self.loss_sum) / self.plan.boxes,
            **losses,
        )
        self.loss_sum = torch.zeros((), dtype=torch.float64)
        self.validated = None
        return record

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to continue counting."""
        return {
            "records": [asdict(record) for record in self.records],
            "seconds": self.seconds,
            "waiting_seconds": self.waiting_seconds,
            "loss_sum": self.loss_sum,
        }

    @classmethod
    def saved_records(cls, checkpoint: dict[str, Any]) -> list[EpochRecord]:
        """Return the records in a checkpoint."""
        return [EpochRecord(**state) for state in checkpoint["callbacks"][cls.__qualname__]["records"]]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting."""
        self.records = [EpochRecord(**state) for state in state_dict["records"]]
        self.seconds = state_dict["seconds"]
        self.waiting_seconds = state_dict.get("waiting_seconds", 0.0)
        self.loss_sum = state_dict["loss_sum"]


def _sum_over_devices(trainer: pl.Trainer, pl_module: pl.LightningModule, value: Tensor) -> Tensor:
    if trainer.world_size == 1:
        return value.clone()
    reduced = trainer.strategy.reduce(value.to(pl_module.device), reduce_op="sum")
    return torch.as_tensor(reduced).cpu()


class Saver(Callback):
    """Saves at the end of a segment, and stops there in time.

    The checkpoint, which a rerun resumes from, is written with the newest bundle, at most every `every_seconds` and always at the
    end; the bundle of the lowest validation loss is kept beside it.
    Training stops if another segment as long as the longest yet would not end before `end`, on the clock `time.monotonic`.

    The argument of `save_bundle` says whether the network is the best one yet.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        bookkeeper: Bookkeeper,
        save_bundle: Callable[[bool], None],
        end: float | None = None,
        every_seconds: float = 60.0,
    ) -> None:
        self.checkpoint = checkpoint
        self.bookkeeper = bookkeeper
        self.save_bundle = save_bundle
        self.end = float("inf") if end is None else end
        self.every_seconds = every_seconds
        self._saved = float("-inf")  # the first segment is saved, so that even a short run is not lost
        self._longest = 0.0
        self._began = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the first segment."""
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if it is time, and save what is due."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._began)
        self._began = now
        if trainer.strategy.broadcast(now + self._longest > self.end):
            trainer.should_stop = True
        if trainer.is_global_zero and self.bookkeeper.epoch_ended and is_best(self.bookkeeper.records):
            self.save_bundle(True)
        last = trainer.should_stop or segments_done(trainer) >= (trainer.max_epochs or 0)
        if last or trainer.strategy.broadcast(now - self._saved >= self.every_seconds):
            trainer.save_checkpoint(self.checkpoint)
            if trainer.is_global_zero:
                self.save_bundle(False)
            self._saved = time.monotonic()


class ProgressDisplay(Callback):
    """A bar over the whole run: loss, boxes per second, time left. Without a terminal, one line per epoch."""

    def __init__(self, progress: Progress, plan: EpochPlan, *, epochs: int, bookkeeper: Bookkeeper) -> None:
        self.progress = progress
        self.plan = plan
        self.epochs = epochs
        self.bookkeeper = bookkeeper
        self._task: TaskID | None = None
        self._loss: float | None = None
        self._boxes = 0
        self._drawn = self._printed = float("-inf")
        self._began = time.monotonic()

    @property
    def _speed(self) -> str:
        return f"{self._boxes / max(time.monotonic() - self._began, 1e-9):.2f} boxes/s"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the run's current step."""
        total = self.epochs * self.plan.steps_per_epoch
        self._task = self.progress.add_task("training", total=total, completed=trainer.global_step)
        self._began = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; the loss is smoothed over about ten readings."""
        self._boxes += len(batch) * trainer.world_size
        if time.monotonic() - self._drawn < _DRAW_SECONDS:  # reading a loss makes a GPU wait: not for every step
            return
        self._drawn = time.monotonic()
        loss = float(outputs["losses"].mean())
        self._loss = loss if self._loss is None else 0.9 * self._loss + 0.1 * loss
        epoch = min(self.epochs, (trainer.global_step - 1) // self.plan.steps_per_epoch + 1)
        self._move(trainer, description=f"epoch {epoch}/{self.epochs}  loss {self._loss:.4f}  {self._speed}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log a line, and print it where no terminal draws a bar: every ten seconds, and for the last epoch."""
        records = self.bookkeeper.records
        if not self.bookkeeper.epoch_ended:
            return
        newest, now = records[-1], time.monotonic()
        if newest.epoch < self.epochs and now - self._printed < _PRINT_SECONDS:
            return
        self._printed = now
        known = [record.validation_loss for record in records if record.validation_loss is not None]
        validation = f"  validation {known[-1]:.4f}" if known else ""
        left = (self.epochs - newest.epoch) * newest.seconds / newest.epoch
        line = (
            f"epoch {newest.epoch}/{self.epochs}  train {newest.train_loss:.4f}{validation}  {self._speed}  "
            f"{newest.waiting_share:.1%} waiting for boxes  {left / 60:.0f} min left"
        )
        note(line)
        if not self.progress.console.is_terminal and not self.progress.disable:
            self.progress.console.print(line)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar at the run's last step."""
        self._move(trainer)

    def _move(self, trainer: pl.Trainer, **changes: Any) -> None:
        if self._task is not None:
            self.progress.update(self._task, completed=trainer.global_step, **changes)
