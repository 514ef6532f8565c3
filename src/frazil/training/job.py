"""What one call of `frazil train` trains, and the memory that it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from frazil.core.errors import SettingsError, StoreError
from frazil.core.memory import keep_freed_memory
from frazil.core.settings import Precision, Preset
from frazil.model.compute import Compute
from frazil.model.devices import bytes_per_box, memory_of
from frazil.training.data import TrainingData
from frazil.training.hardware import Hardware
from frazil.training.plan import EpochPlan
from frazil.training.start import Start

_SHARE_FOR_BOXES = 4
"""The boxes of all processes may take one part in this many of the machine's memory; beyond that they are read again every epoch."""

_FIXED_BYTES = 3 * 2**28
"""PyTorch itself, weights, gradients, averages and moments of a network of some million parameters."""


@dataclass(frozen=True)
class TrainingJob:
    """Settings, data, start and hardware of a training run.

    The preset has the network and the noise schedule of `start`, if there is one. Training stops before `end`, on the clock
    `time.monotonic`, at the end of a segment; None trains all epochs.
    """

    run: Path
    data: TrainingData
    preset: Preset
    hardware: Hardware
    start: Start | None = None
    end: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the model, in the order of their numbers."""
        return self.data.description.labels if self.start is None else self.start.labels

    @property
    def edge_voxel(self) -> int:
        """Edge of what the network sees at once."""
        return self.data.edge_voxel(self.preset)

    @property
    def edge_multiple(self) -> int:
        """What the edge of a box must be a multiple of."""
        return int(2**self.preset.model.halvings)

    def _check_teacher(self, steps: int) -> None:
        """Refuse a student without a teacher, or one that would need as many evaluations."""
        if self.start is None:
            raise SettingsError(
                f"training.distill_steps={steps}: a student needs a teacher; pass a bundle to start from, or use frazil distill"
            )
        card = self.start.bundle.card
        taught = card.preset.sampling.steps
        if taught is not None and steps >= taught:
            raise SettingsError(f"{steps} steps: the teacher itself samples in {taught}; give fewer")
        if self.labels != card.labels:
            raise SettingsError(
                f"the store's classes are not the teacher's ({', '.join(card.labels)}); train the teacher on it first, then distill that"
            )
        if (maps := self.preset.model.layout_maps) != card.maps:
            raise SettingsError(
                f"the store's label maps ({', '.join(maps) or 'none'}) are not the teacher's ({', '.join(card.maps) or 'none'}); curate "
                "the store with those of the teacher"
            )

    def epoch_plan(self, boxes: int) -> EpochPlan:
        """Return how `boxes` are dealt to the steps of an epoch; refuse devices that cannot share a batch."""
        settings = self.preset.training
        return EpochPlan(boxes, settings.batch_size, self.hardware.processes, settings.accumulate, settings.seed)

    def check(self) -> None:
        """Refuse what cannot be trained, from the descriptions alone."""
        if steps := self.preset.training.distill_steps:
            self._check_teacher(steps)
        self.data.check(self.preset, started=self.start is not None)
        count = self.data.count("train")
        if not count:
            raise StoreError(f"{self.data.path}: no box is in the training split; curate with other validation runs")
        self.hardware.check()
        self.epoch_plan(count)
        boxes, draws = self.data.count("validation"), self.preset.training.validation_draws
        if 0 < boxes * draws < self.hardware.processes:
            raise SettingsError(
                f"devices {self.hardware.processes}: more than {boxes} validation boxes at {draws} noise levels; give at most "
                f"{boxes * draws} devices, or set training.validation_draws={-(-self.hardware.processes // boxes)}"
            )


def check_memory(job: TrainingJob) -> bool:
    """Refuse passes that do not fit into memory; return whether all boxes of the store may stay in it."""
    hardware, training, device = job.hardware, job.preset.training, job.hardware.device
    has = memory_of(device, hardware.devices)
    share = math.ceil(training.batch_size / (hardware.processes * training.accumulate))
    needed = _needed(job, share)
    if needed > has:
        raise SettingsError(
            f"a pass over {share} boxes of {job.edge_voxel} voxels needs about {needed / 2**30:.1f} GiB with its "
            f"gradients, and {device.type} has {has / 2**30:.1f} GiB for it; {_advice(job, has)}"
        )
    machine = memory_of(torch.device("cpu"), hardware.devices)
    store = job.data.nbytes
    on_cpu = needed if device.type == "cpu" else 0
    if on_cpu:
        keep_freed_memory(needed, has)
    return store < machine / _SHARE_FOR_BOXES and store + on_cpu <= machine


def _needed(
    job: TrainingJob, boxes: int, edge: int | None = None, *, checkpoint: bool = False, bf16: bool = False
) -> int:
    """Return about how much memory a pass over `boxes` takes, the network itself included."""
    training = job.preset.training
    precision: Precision = "bf16-mixed" if bf16 else Compute.of(training).precision
    checkpoint = checkpoint or training.checkpoint_activations
    return _FIXED_BYTES + boxes * bytes_per_box(
        job.preset.model, edge or job.edge_voxel, precision, gradients=True, checkpoint_activations=checkpoint
    )


def _advice(job: TrainingJob, has: int) -> str:
    """Say what would fit: more passes per step, then what makes a pass smaller, then smaller boxes."""
    processes, training = job.hardware.processes, job.preset.training
    for checkpoint, bf16 in ((False, False), (True, False), (False, True), (True, True)):
        for accumulate in range(training.accumulate, training.batch_size // processes + 1):
            share = math.ceil(training.batch_size / (processes * accumulate))
            if _needed(job, share, checkpoint=checkpoint, bf16=bf16) <= has:
                options = ["training.checkpoint_activations=true"] if checkpoint else []
                options += ["training.precision=bf16-mixed"] if bf16 else []
                options += [f"training.accumulate={accumulate}"] if accumulate > training.accumulate else []
                return f"set {', '.join(options)}"
    for edge in range(job.edge_voxel - job.edge_multiple, 0, -job.edge_multiple):
        if _needed(job, 1, edge, checkpoint=True, bf16=True) <= has:
            return f"curate boxes of at most {edge} voxels, or use a machine with more memory"
    return "use a machine with more memory"
