"""One training run: build the task, resume what was interrupted, drive Lightning, return the history."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.strategies import StrategyRegistry
from rich.progress import Progress
from torch import nn

from frazil.core.errors import SettingsError
from frazil.core.seeds import torch_generator
from frazil.core.settings import Preset
from frazil.dataset.subtomograms import Subtomograms
from frazil.dataset.variation import Variation
from frazil.model.compute import Compute
from frazil.model.parts import freeze
from frazil.model.unet import build_network
from frazil.training.average import WarmingAverage
from frazil.training.bands import measure_bands
from frazil.training.base import Base
from frazil.training.batches import (
    SegmentSampler,
    TrainingBatches,
    ValidationBatches,
    training_loader,
    validation_loader,
)
from frazil.training.callbacks import (
    Bookkeeper,
    Deadline,
    MetricsWriter,
    ProgressDisplay,
    Saver,
    segments_done,
)
from frazil.training.checkpoint import SafeCheckpointIO, load_checkpoint
from frazil.training.history import EpochRecord
from frazil.training.loader import Waiting
from frazil.training.module import DenoisingTask
from frazil.training.plan import EpochPlan

RANKS = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "SLURM_PROCID")
"""Variables that launchers set; they are all 0 in the first process alone."""

ACCELERATORS = ("auto", "cpu", "gpu")
CHECKPOINT_NAME = "last.ckpt.safetensors"


@dataclass(frozen=True)
class Hardware:
    """Lightning's own flags.

    Parameters
    ----------
    accelerator : ``auto`` (CUDA where there is one, else the CPU: the noise schedule needs float64), ``cpu``, ``gpu``.
    devices : processes on each node.
    num_nodes : nodes.
    strategy : ``auto`` is DDP where there is more than one process.
    workers : processes that prefetch batches for each device; 0 leaves it to a thread; None: 0 on a CPU, up to four beside a GPU.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    workers: int | None = None

    @property
    def processes(self) -> int:
        """All processes of the run."""
        return self.devices * self.num_nodes

    @property
    def chosen_accelerator(self) -> str:
        """What ``auto`` comes to on this machine."""
        if self.accelerator != "auto":
            return self.accelerator
        return "gpu" if torch.cuda.is_available() else "cpu"

    def check(self) -> None:
        """Refuse what the machine does not have.

        Raises
        ------
        SettingsError : more GPUs than there are, or none; an accelerator or strategy that Lightning does not have.
        """
        if self.accelerator not in ACCELERATORS:
            raise SettingsError(f"--accelerator {self.accelerator}: unknown; pass one of {', '.join(ACCELERATORS)}")
        if self.strategy not in (known := ["auto", *StrategyRegistry.available_strategies()]):
            raise SettingsError(f"--strategy {self.strategy}: unknown to Lightning; pass one of {', '.join(known)}")
        gpus = torch.cuda.device_count()
        if self.accelerator == "gpu" and gpus == 0:
            raise SettingsError("--accelerator gpu: this machine has no GPU that torch can use; pass --accelerator cpu")
        if self.chosen_accelerator == "gpu" and self.devices > gpus:
            raise SettingsError(f"--devices {self.devices}: this machine has {gpus} GPUs; pass --devices {gpus}")


@dataclass(frozen=True)
class Fit:
    """What a call of `fit` gave.

    Parameters
    ----------
    records : one an epoch, from the first.
    finished : all epochs are done; False where the time ran out first.
    was_finished : they had been done before the call, which therefore did nothing.
    """

    records: list[EpochRecord]
    finished: bool
    was_finished: bool = False


def epoch_plan(preset: Preset, boxes: int, hardware: Hardware) -> EpochPlan:
    """Return how `boxes` are dealt to the steps of an epoch.

    Raises
    ------
    SettingsError : the devices cannot share a batch.
    """
    settings = preset.training
    return EpochPlan(boxes, settings.batch_size, hardware.processes, settings.accumulate, settings.seed)


def is_first_process() -> bool:
    """Tell whether this process speaks for the run; the others stay silent."""
    return all(int(os.environ.get(name, "0")) == 0 for name in RANKS)


def fit(
    preset: Preset,
    training: Subtomograms,
    validation: Subtomograms,
    *,
    label_count: int,
    run: Path,
    hardware: Hardware,
    write_bundle: Callable[[nn.Module, list[EpochRecord], bool], None],
    progress: Progress,
    variation: Variation | None = None,
    base: Base | None = None,
    end: float | None = None,
) -> Fit:
    """Train, or go on training, in the folder `run`.

    Parameters
    ----------
    training, validation : the boxes of the two splits; `validation` may be empty.
    label_count : classes that the network can be asked for.
    run : holds the checkpoint, `metrics.csv` and TensorBoard events.
    write_bundle : gets the network (averaged where the preset averages), the history, and False whenever a checkpoint is saved
        or True whenever the validation loss is lower than ever.
    variation : how boxes are cut and varied; None shows them as they are.
    base : the trained network to begin with; None begins with fresh weights.
    end : stop before this time on the clock `time.monotonic`, where a segment ends.

    Raises
    ------
    SettingsError : the devices cannot share a batch, or do not exist.
    CheckpointError : the checkpoint of an earlier call is damaged.
    OutputError : the folder cannot be written.
    """
    hardware.check()
    settings = preset.training
    plan = epoch_plan(preset, len(training), hardware)
    checkpoint = run / CHECKPOINT_NAME
    done = Bookkeeper.saved_records(load_checkpoint(checkpoint)) if checkpoint.exists() else []
    if done and done[-1].epoch >= settings.epochs:
        return Fit(done, finished=True, was_finished=True)
    generator = torch_generator(settings.seed, "weights")
    network = build_network(preset.model, label_count, preset.diffusion, generator=generator)
    network.checkpoint_activations = settings.checkpoint_activations
    if base is not None:
        base.put_into(network)
    elif not preset.model.band_std:
        measure_bands(network.front_end, training)
    freeze(network, settings.freeze)
    task = DenoisingTask(network, preset)
    metrics = MetricsWriter(run, timesteps=preset.diffusion.timesteps)
    waiting = Waiting()
    bookkeeper = Bookkeeper(plan, timesteps=preset.diffusion.timesteps, on_epoch=metrics, waiting=waiting)
    average = WarmingAverage(settings.ema_decay) if settings.ema_decay else None
    saver = Saver(
        checkpoint,
        bookkeeper=bookkeeper,
        save_bundle=lambda best: write_bundle(_averaged(task, average), bookkeeper.records, best),
    )
    deadline = Deadline(end) if end is not None else None
    display = ProgressDisplay(progress, plan, epochs=settings.epochs, bookkeeper=bookkeeper)
    callbacks: list[pl.Callback] = [c for c in (average, bookkeeper, display, deadline, saver) if c is not None]

    with _quiet_lightning(), closing(metrics):
        trainer = pl.Trainer(
            accelerator=hardware.chosen_accelerator,
            devices=hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy="ddp" if hardware.strategy == "auto" and hardware.processes > 1 else hardware.strategy,
            precision=Compute.of(settings).precision,
            max_epochs=settings.epochs * plan.segments_per_epoch,
            accumulate_grad_batches=settings.accumulate,
            check_val_every_n_epoch=settings.validate_every * plan.segments_per_epoch,
            limit_val_batches=1.0 if len(validation) else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            plugins=_plugins(),
        )
        data = _Batches(training, validation, plan, preset, hardware, waiting, variation)
        try:
            trainer.fit(
                task, datamodule=data, ckpt_path=str(checkpoint) if checkpoint.exists() else None, weights_only=True
            )
        except SystemExit as stop:  # Lightning turns Ctrl-C into exit(1) after its shutdown
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
    finished = bool(bookkeeper.records) and bookkeeper.records[-1].epoch >= settings.epochs
    return Fit(bookkeeper.records, finished)


def saved_network(run: Path, preset: Preset, label_count: int) -> nn.Module:
    """Return the network in the checkpoint of `run`, averaged where the preset averages.

    Raises
    ------
    CheckpointError : the checkpoint is damaged.
    """
    network = build_network(preset.model, label_count, preset.diffusion)
    state = load_checkpoint(run / CHECKPOINT_NAME)["state_dict"]
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in state.items()})
    return network


class _Batches(pl.LightningDataModule):
    """Makes the loaders when Lightning knows the rank of the process and the segment to go on from."""

    def __init__(
        self,
        training: Subtomograms,
        validation: Subtomograms,
        plan: EpochPlan,
        preset: Preset,
        hardware: Hardware,
        waiting: Waiting,
        variation: Variation | None,
    ) -> None:
        super().__init__()
        self.waiting = waiting
        self.plan = plan
        self.hardware = hardware
        settings, timesteps = preset.training, preset.diffusion.timesteps
        self.training = TrainingBatches(
            training,
            timesteps=timesteps,
            seed=settings.seed,
            class_dropout=settings.class_dropout,
            variation=variation,
        )
        self.validation = ValidationBatches(
            validation,
            timesteps=timesteps,
            draws=settings.validation_draws,
            seed=settings.seed,
            variation=variation,
        )

    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    def train_dataloader(self) -> Any:
        """The loader of this process, standing at the segment to go on from."""
        assert self.trainer is not None
        segment = segments_done(self.trainer)
        workers = self.hardware.workers
        if workers is None:
            workers = min(4, os.cpu_count() or 1) if torch.cuda.is_available() else 0
        return training_loader(
            self.training,
            SegmentSampler(self.plan, rank=self._rank(), segment=segment),
            workers=workers,
            waiting=self.waiting,
        )

    def val_dataloader(self) -> Any:
        """The validation pairs of this process."""
        size = max(1, self.plan.batch_size // (self.plan.devices * self.plan.accumulate))
        return validation_loader(
            self.validation, batch_size=size, rank=self._rank(), devices=self.hardware.processes, waiting=self.waiting
        )


def _averaged(task: DenoisingTask, average: WarmingAverage | None) -> nn.Module:
    averaged = average._average_model if average is not None else None
    if averaged is None:
        return task.network
    return averaged.module.network  # type: ignore[return-value]


def _plugins() -> list[Any]:
    plugins: list[Any] = [SafeCheckpointIO()]
    if SLURMEnvironment.detect():
        # the same command resumes; Lightning's own requeue would save a second kind of checkpoint
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what Lightning tells programmers; errors still come through."""
    loggers = [
        logging.getLogger(name)
        for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=DeprecationWarning)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
