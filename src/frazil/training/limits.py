"""What a training needs of the machine: a network for its boxes, devices, memory; and how its network is computed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from frazil.core.allocator import keep_freed_memory
from frazil.core.errors import SettingsError, ShapeError, StoreError
from frazil.dataset.variation import Variation, largest_edge
from frazil.model.compute import Compute
from frazil.model.devices import bytes_per_box, memory_of
from frazil.model.probe import Probe, candidates, probe
from frazil.model.unet import build_network, check_box_size
from frazil.training.fit import Hardware, epoch_plan

if TYPE_CHECKING:
    from frazil.core.settings import Preset
    from frazil.dataset.store import BoxStore

_SHARE_FOR_BOXES = 4
"""The boxes of all processes may take one part in so many of the machine's memory; beyond, they are read again and again."""

_FIXED_BYTES = 3 * 2**28
"""PyTorch itself, weights, gradients, averages and moments of a network of some million parameters."""


def training_edge(boxes: BoxStore, preset: Preset) -> int:
    """Return the edge of what the network sees of a box, in voxels."""
    return preset.training.box_size_voxel or boxes.description.box_size_voxel


def variation_of(boxes: BoxStore, preset: Preset) -> Variation:
    """Return how the boxes of a store are cut and varied.

    Raises
    ------
    SettingsError : what the preset asks for does not fit into the boxes.
    """
    described = boxes.description
    try:
        return Variation.of(
            preset.training,
            box_size_voxel=described.box_size_voxel,
            tilt_range_degrees=described.tilt_range_degrees,
            edge_multiple=_edge_multiple(preset),
        )
    except SettingsError as fault:
        raise SettingsError(f"{boxes.path}: {fault}") from None


def check_training(boxes: BoxStore, preset: Preset, hardware: Hardware, *, given_network: bool = False) -> None:
    """Refuse what cannot be trained, from the descriptions alone.

    Parameters
    ----------
    given_network : the network is that of a bundle to begin with, and cannot be another one.

    Raises
    ------
    ShapeError : the network cannot halve the boxes.
    StoreError : no training boxes.
    SettingsError : devices that do not exist, or cannot share a batch.
    """
    edge = training_edge(boxes, preset)
    try:
        check_box_size([edge] * 3, preset.model)
    except ShapeError as fault:
        raise ShapeError(f"{boxes.path}: {fault}; {_other_edge(boxes, preset, given_network=given_network)}") from None
    if not len(boxes.boxes("train")):
        raise StoreError(f"{boxes.path}: no box is in the training split; curate with other --validation-run")
    hardware.check()
    epoch_plan(preset, len(boxes.boxes("train")), hardware)


def _edge_multiple(preset: Preset) -> int:
    """Return what the edge of a box must be a multiple of."""
    return int(2**preset.model.halvings)


def _other_edge(boxes: BoxStore, preset: Preset, *, given_network: bool) -> str:
    """Say which edge the network takes: cut from the boxes if they have room for it, else of other boxes."""
    multiple, edge = _edge_multiple(preset), boxes.description.box_size_voxel
    fitting = largest_edge(preset.training, box_size_voxel=edge, edge_multiple=multiple)
    remedy = f"train with --box {fitting}" if fitting else f"curate with --box {multiple}"
    return remedy if given_network else f"{remedy}, or with fewer model.channel_multipliers"


def choose_compute(
    preset: Preset, boxes: BoxStore, hardware: Hardware, *, kept: Compute | None
) -> tuple[Preset, Probe | None]:
    """Return the preset with nothing left open in precision and memory format, and the probe if one was needed.

    Parameters
    ----------
    kept : of an earlier call of the same run, which goes on as it began.
    """
    training = preset.training
    among = candidates(training.precision, training.memory_format, kept=kept)
    probed = None
    if len(among) > 1:
        network = build_network(preset.model, len(boxes.description.labels), preset.diffusion)
        device = "cuda" if hardware.chosen_accelerator == "gpu" else "cpu"
        edge = training_edge(boxes, preset)
        probed = probe(network, among, box_size_voxel=edge, device=device, gradients=True)
    chosen = among[0] if probed is None else probed.chosen
    update = {
        "precision": chosen.precision,
        "memory_format": None if training.memory_format is None else chosen.memory_format,
    }
    return preset.model_copy(update={"training": training.model_copy(update=update)}), probed


def check_memory(boxes: BoxStore, preset: Preset, hardware: Hardware) -> bool:
    """Refuse passes that do not fit into memory; return whether all boxes of the store may stay in it.

    Raises
    ------
    SettingsError : they do not; says what would.
    """
    device = torch.device("cuda:0" if hardware.chosen_accelerator == "gpu" else "cpu")
    edge, training = training_edge(boxes, preset), preset.training
    has = memory_of(device, hardware.devices)
    share = math.ceil(training.batch_size / (hardware.processes * training.accumulate))
    needed = _needed(preset, edge, share)
    if needed > has:
        raise SettingsError(
            f"a pass over {share} boxes of {edge} voxels needs about {needed / 2**30:.1f} GiB with its gradients, "
            f"and {device.type} has {has / 2**30:.1f} GiB for it; {_advice(preset, edge, has, hardware)}"
        )
    machine = memory_of(torch.device("cpu"), hardware.devices)
    store = boxes.description.box_count * boxes.description.box_size_voxel**3 * 4
    on_cpu = needed if device.type == "cpu" else 0
    if device.type == "cpu":
        keep_freed_memory(needed, has)
    return store < machine / _SHARE_FOR_BOXES and store + on_cpu <= machine


def _needed(preset: Preset, edge: int, boxes: int, *, checkpoint: bool = False, bf16: bool = False) -> int:
    training = preset.training
    return _FIXED_BYTES + boxes * bytes_per_box(
        preset.model,
        edge,
        "bf16-mixed" if bf16 else Compute.of(training).precision,
        gradients=True,
        checkpoint_activations=checkpoint or training.checkpoint_activations,
    )


def _advice(preset: Preset, edge: int, has: int, hardware: Hardware) -> str:
    """Say what would fit: more passes a step, then what makes a pass smaller, then smaller boxes."""
    batch = preset.training.batch_size
    for checkpoint, bf16 in ((False, False), (True, False), (False, True), (True, True)):
        for accumulate in range(preset.training.accumulate, batch // hardware.processes + 1):
            share = math.ceil(batch / (hardware.processes * accumulate))
            if _needed(preset, edge, share, checkpoint=checkpoint, bf16=bf16) <= has:
                options = ["--set training.checkpoint_activations=true"] if checkpoint else []
                options += ["--precision bf16-mixed"] if bf16 else []
                options += [f"--accumulate {accumulate}"] if accumulate > preset.training.accumulate else []
                return f"pass {' '.join(options)}"
    step = _edge_multiple(preset)
    fitting = (
        size for size in range(edge - step, 0, -step) if _needed(preset, size, 1, checkpoint=True, bf16=True) <= has
    )
    largest = next(fitting, 0)
    smaller = f"boxes of at most {largest} voxels, or " if largest else ""
    return f"curate {smaller}use a machine with more memory" if smaller else "use a machine with more memory"
