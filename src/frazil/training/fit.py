"""Build the task, resume what was interrupted, drive Lightning, return the history."""

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
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from rich.progress import Progress

from frazil.core.seeds import torch_generator
from frazil.core.settings import Preset
from frazil.dataset.examples import Examples
from frazil.model.compute import Compute
from frazil.model.unet import ConditionalUNet, build_network, freeze
from frazil.training.batches import SegmentSampler, TrainingBatches, ValidationBatches, validation_loader
from frazil.training.callbacks import Bookkeeper, ProgressDisplay, Saver, segments_done
from frazil.training.checkpoint import SafeCheckpointIO, load_checkpoint
from frazil.training.folder import CHECKPOINT_NAME
from frazil.training.hardware import srun_tasks
from frazil.training.history import EpochRecord, MetricsWriter
from frazil.training.job import TrainingJob
from frazil.training.loader import AheadLoader, Waiting
from frazil.training.plan import EpochPlan
from frazil.training.start import measure_bands
from frazil.training.task import DenoisingTask, DistillationTask, WarmingAverage


@dataclass(frozen=True)
class Fit:
    """What a call of `fit` gave: a record per epoch; whether all epochs are done, and whether they were before the call."""

    records: list[EpochRecord]
    finished: bool
    was_finished: bool = False


def fit(
    job: TrainingJob,
    training: Examples,
    validation: Examples,
    *,
    write_bundle: Callable[[ConditionalUNet, list[EpochRecord], bool], None],
    progress: Progress,
) -> Fit:
    """Train, or resume, in the folder of `job`, whose precision is decided; `validation` may be empty.

    `write_bundle` gets the network (averaged if the preset averages), the history, and False whenever a checkpoint is saved or True
    whenever the validation loss is lower than ever.
    """
    job.hardware.check()
    settings, timesteps = job.preset.training, job.preset.diffusion.timesteps
    plan = job.epoch_plan(len(training))
    checkpoint = job.run / CHECKPOINT_NAME
    done = Bookkeeper.saved_records(load_checkpoint(checkpoint)) if checkpoint.exists() else []
    if done and done[-1].epoch >= settings.epochs:
        return Fit(done, finished=True, was_finished=True)
    task = _task(job, training)
    metrics = MetricsWriter(job.run, timesteps=timesteps)
    waiting = Waiting()
    bookkeeper = Bookkeeper(plan, timesteps=timesteps, on_epoch=metrics, waiting=waiting)
    average = WarmingAverage(settings.ema_decay) if settings.ema_decay else None

    def save(best: bool) -> None:
        write_bundle((average.averaged() if average else None) or task.network, bookkeeper.records, best)

    callbacks: list[pl.Callback] = [
        *([average] if average else []),
        bookkeeper,
        ProgressDisplay(progress, plan, epochs=settings.epochs, bookkeeper=bookkeeper),
        Saver(checkpoint, bookkeeper=bookkeeper, save_bundle=save, end=job.end),
    ]
    environment: list[ClusterEnvironment] = []
    if srun_tasks() > 1:  # a rerun resumes; Lightning's own requeue would save a second kind of checkpoint
        environment = [SLURMEnvironment(auto_requeue=False)]
    elif SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        environment = [LightningEnvironment()]  # an allocation without srun: the processes are ours to start
    with _quiet_lightning(), closing(metrics):
        trainer = pl.Trainer(
            accelerator=job.hardware.chosen_accelerator,
            devices=job.hardware.devices,
            num_nodes=job.hardware.num_nodes,
            strategy="ddp" if job.hardware.processes > 1 else "auto",
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
            plugins=[SafeCheckpointIO(), *environment],
        )
        batches = _Batches(job, training, validation, plan, waiting)
        resumed = str(checkpoint) if checkpoint.exists() else None
        try:
            trainer.fit(task, datamodule=batches, ckpt_path=resumed, weights_only=True)
        except SystemExit as stop:  # Lightning turns Ctrl-C into exit(1) after its shutdown
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
    finished = bool(bookkeeper.records) and bookkeeper.records[-1].epoch >= settings.epochs
    return Fit(bookkeeper.records, finished)


def _task(job: TrainingJob, training: Examples) -> DenoisingTask:
    """Return what is trained: a network on data, or a student on what the bundle to start from makes of them."""
    network = _network(job, training)
    if not job.preset.training.distill_steps:
        return DenoisingTask(network, job.preset)
    assert job.start is not None  # `TrainingJob.check` saw to it
    return DistillationTask(network, job.preset, job.start.bundle)


def _network(job: TrainingJob, training: Examples) -> ConditionalUNet:
    """Return the network with the weights that it starts from."""
    preset = job.preset
    generator = torch_generator(preset.training.seed, "weights")
    network = build_network(preset.model, len(job.labels), preset.diffusion, generator=generator)
    network.checkpoint_activations = preset.training.checkpoint_activations
    if network.layout is not None:
        job.data.put_templates(network.layout.templates, job.labels)
    if job.start is not None:
        job.start.put_into(network)
    elif not preset.model.band_std:
        measure_bands(network.front_end, training)
    freeze(network, preset.training.freeze)
    return network


def saved_network(run: Path, preset: Preset, label_count: int) -> ConditionalUNet:
    """Return the network in the checkpoint of `run`, averaged if the preset averages."""
    network = build_network(preset.model, label_count, preset.diffusion)
    state = load_checkpoint(run / CHECKPOINT_NAME)["state_dict"]
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in state.items()})
    return network


class _Batches(pl.LightningDataModule):
    """Makes the loaders when Lightning knows the rank of the process and the segment to resume from."""

    def __init__(
        self, job: TrainingJob, training: Examples, validation: Examples, plan: EpochPlan, waiting: Waiting
    ) -> None:
        super().__init__()
        self.workers = job.hardware.workers
        self.plan = plan
        self.waiting = waiting
        self.training = TrainingBatches(training, job.preset)
        self.validation = ValidationBatches(validation, job.preset)

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        sampler = SegmentSampler(self.plan, rank=self.trainer.global_rank, segment=segments_done(self.trainer))
        workers = self.workers
        if workers is None:
            workers = min(4, os.cpu_count() or 1) if torch.cuda.is_available() else 0
        return AheadLoader(self.training, sampler, workers=workers, waiting=self.waiting)

    def val_dataloader(self) -> Any:
        assert self.trainer is not None
        devices = self.plan.devices
        size = max(1, self.plan.batch_size // (devices * self.plan.accumulate))
        return validation_loader(
            self.validation, batch_size=size, rank=self.trainer.global_rank, devices=devices, waiting=self.waiting
        )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what Lightning tells programmers; errors still come through."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
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
