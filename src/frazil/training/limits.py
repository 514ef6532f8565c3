"""The memory that a training needs."""

from __future__ import annotations

import math

import torch

from frazil.core.allocator import keep_freed_memory
from frazil.core.errors import SettingsError
from frazil.core.settings import Precision
from frazil.model.compute import Compute
from frazil.model.devices import bytes_per_box, memory_of
from frazil.training.job import TrainingJob

_SHARE_FOR_BOXES = 4
"""The boxes of all processes may take one part in this many of the machine's memory; beyond that they are read again every epoch."""

_FIXED_BYTES = 3 * 2**28
"""PyTorch itself, weights, gradients, averages and moments of a network of some million parameters."""


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
    store = job.boxes.description.box_count * job.boxes.description.box_size_voxel**3 * 4
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
                options = ["--set training.checkpoint_activations=true"] if checkpoint else []
                options += ["--precision bf16-mixed"] if bf16 else []
                options += [f"--accumulate {accumulate}"] if accumulate > training.accumulate else []
                return f"pass {' '.join(options)}"
    for edge in range(job.edge_voxel - job.edge_multiple, 0, -job.edge_multiple):
        if _needed(job, 1, edge, checkpoint=True, bf16=True) <= has:
            return f"curate boxes of at most {edge} voxels, or use a machine with more memory"
    return "use a machine with more memory"
