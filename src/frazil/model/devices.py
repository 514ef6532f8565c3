"""Where a network runs, how much memory it takes there, and how many volumes it samples at once."""

from __future__ import annotations

import torch

from frazil.core.errors import RequestError
from frazil.core.memory import machine_memory
from frazil.core.settings import ModelSettings, Precision

_CPU_VOXELS = 64**3
"""Of a batch at the network's finest level: on a CPU larger batches are no faster."""

_MAX_BATCH = 32


def choose_device(device: str) -> torch.device:
    """Return the device that a user names; ``auto`` is the first CUDA device if there is one, else the CPU."""
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        chosen: torch.device | None = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise RequestError(f"device {device!r}: not supported; choose auto, cpu, cuda or cuda:1")
    if chosen.type == "cpu":
        return chosen
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise RequestError(f"device {device!r}: PyTorch finds no CUDA device here; choose cpu or auto")
    if chosen.index is not None and chosen.index >= count:
        raise RequestError(f"device {device!r}: there are {count} CUDA devices, cuda:0 to cuda:{count - 1}; choose one")
    return torch.device("cuda", chosen.index or 0)


def memory_of(device: torch.device, processes: int = 1) -> int:
    """Return the bytes of memory of a device; `processes` share that of a CPU."""
    if device.type == "cpu":
        return machine_memory(processes)
    return torch.cuda.get_device_properties(device).total_memory


_PLANES = 16
"""Of a painted layout: more than most projects have classes."""


def bytes_per_box(
    settings: ModelSettings,
    box_size_voxel: int,
    precision: Precision,
    *,
    gradients: bool = False,
    checkpoint_activations: bool = False,
) -> int:
    """Return about how much memory one box of a batch takes: an upper bound, measured to be below twice.

    The finest level decides. While sampling it holds input, output, skip, and what the kernels need, some 12 times its channels. With
    gradients some 25 times its channels are kept, 17 with `checkpoint_activations`; kernels need up to two thirds as much again, and
    freed memory that is kept the rest.
    """
    volumes = (26 if checkpoint_activations else 40) if gradients else 12
    voxels = box_size_voxel**3
    level = volumes * settings.level_channels[0] * (voxels // settings.bands) * (2 if precision == "bf16-mixed" else 4)
    painted = _PLANES if settings.layout_channels else 0
    return level + ((16 if gradients else 8) + painted) * voxels * 4  # and what goes in and comes out, in float32


def check_memory(
    device: torch.device,
    settings: ModelSettings,
    box_size_voxel: int,
    *,
    batch_size: int,
    precision: Precision,
    processes: int = 1,
) -> None:
    """Refuse to sample a batch that cannot fit into the memory of a device, which `processes` share; say what would fit."""
    has = memory_of(device, processes)
    per_box = bytes_per_box(settings, box_size_voxel, precision)
    if batch_size * per_box <= has:
        return
    if fits := has // per_box:
        advice = f"choose a batch size of {fits}"
    elif precision == "32-true" and bytes_per_box(settings, box_size_voxel, "bf16-mixed") <= has:
        advice = "choose the precision bf16-mixed and a batch size of 1"
    else:
        edges = range(box_size_voxel, 0, -(2**settings.halvings))
        largest = next((edge for edge in edges if bytes_per_box(settings, edge, precision) <= has), 0)
        advice = f"use a larger device, or a bundle of boxes of at most {largest} voxels"
    raise RequestError(
        f"a batch of {batch_size} boxes of {box_size_voxel} voxels needs about {batch_size * per_box / 2**30:.1f} GiB, "
        f"and {device} has {has / 2**30:.1f} GiB for it; {advice}"
    )


def default_batch_size(
    device: torch.device, settings: ModelSettings, box_size_voxel: int, precision: Precision = "32-true"
) -> int:
    """Return how many boxes to sample at once: a function of the hardware, not of what else runs on it."""
    if device.type == "cpu":
        return max(1, min(_MAX_BATCH, _CPU_VOXELS * settings.bands // box_size_voxel**3))
    return max(1, min(_MAX_BATCH, memory_of(device) // 2 // bytes_per_box(settings, box_size_voxel, precision)))
