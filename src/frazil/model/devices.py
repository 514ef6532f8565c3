"""Where a network runs, and how many volumes it takes at once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

from frazil.core.errors import RequestError
from frazil.core.settings import ModelSettings, Precision

_CPU_VOXELS = 64**3
"""Of a batch at the network's finest level: on a CPU larger batches are no faster."""

_MAX_BATCH = 32


def choose_devices(device: str) -> tuple[torch.device, ...]:
    """Return the devices that a user names.

    Parameters
    ----------
    device : ``auto`` (the first CUDA device if there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, or several
        joined by commas, which share the samples.

    Raises
    ------
    RequestError : a device that does not exist here.
    """
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    return tuple(_device(name.strip()) for name in device.split(","))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RequestError(
            f"device {name!r} is not known; choose auto, cpu, cuda, or cuda:0,cuda:1 for several"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise RequestError(f"device {name!r} is not supported; choose auto, cpu, cuda, or cuda:0,cuda:1 for several")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise RequestError(f"device {name!r}: PyTorch finds no CUDA device here; choose --device cpu or auto")
        if device.index is not None and device.index >= count:
            raise RequestError(
                f"device {name!r}: there are {count} CUDA devices, cuda:0 to cuda:{count - 1}; choose one"
            )
        return torch.device("cuda", device.index or 0)
    return device


def bytes_per_box(settings: ModelSettings, box_size_voxel: int, precision: Precision) -> int:
    """Return about how much memory one box of a batch takes while it is sampled: an upper bound, measured to be below twice.

    The finest level decides: it holds input, output, skip, and what the kernels need, some 12 times its channels.
    """
    voxels = box_size_voxel**3
    level = 12 * settings.level_channels[0] * (voxels // settings.bands) * (2 if precision == "bf16-mixed" else 4)
    return level + 8 * voxels * 4  # and the volumes that the sampler keeps, in float32


def memory_of(device: torch.device, processes: int = 1) -> int:
    """Return the bytes of memory of a device; `processes` share that of a CPU, which a container or a batch system may limit."""
    if device.type == "cpu":
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return min([machine, *_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]) // processes
    return torch.cuda.get_device_properties(device).total_memory


def _limits(membership: Path, root: Path) -> list[int]:
    """Return the limits of memory of this process's control groups (version 2) and all above them."""
    found = []
    with suppress(OSError, ValueError):
        entries = [line.split(":", 2) for line in membership.read_text().splitlines()]
        names = [Path(path.lstrip("/")) for number, _, path in entries if number == "0"]
        for group in [part for name in names for part in (name, *name.parents)]:
            with suppress(OSError, ValueError):  # no such file, or "max"
                found.append(int((root / group / "memory.max").read_text()))
    return found


def check_memory(
    devices: tuple[torch.device, ...],
    settings: ModelSettings,
    box_size_voxel: int,
    *,
    batch_size: int,
    precision: Precision,
    processes: int = 1,
) -> None:
    """Refuse a batch that cannot fit into the memory of a device.

    Parameters
    ----------
    devices : as `choose_devices` returns them.
    settings : of the network.
    processes : that share the memory of this node's CPU.

    Raises
    ------
    RequestError : it cannot; says what would fit.
    """
    copies = devices.count(devices[0]) if devices[0].type == "cpu" else 1
    has = min(memory_of(device, processes * copies) for device in devices)
    per_box = bytes_per_box(settings, box_size_voxel, precision)
    if batch_size * per_box <= has:
        return
    fits = has // per_box
    if fits:
        advice = f"pass --batch-size {fits}"
    elif precision == "32-true" and bytes_per_box(settings, box_size_voxel, "bf16-mixed") <= has:
        advice = "pass --precision bf16-mixed --batch-size 1"
    else:
        edges = range(box_size_voxel, 0, -(2**settings.halvings))
        largest = next((edge for edge in edges if bytes_per_box(settings, edge, precision) <= has), 0)
        advice = f"use a larger device, or a bundle of boxes of at most {largest} voxels"
    raise RequestError(
        f"a batch of {batch_size} boxes of {box_size_voxel} voxels needs about {batch_size * per_box / 2**30:.1f} GiB, "
        f"and {devices[0]} has {has / 2**30:.1f} GiB for it; {advice}"
    )


def default_batch_size(
    devices: tuple[torch.device, ...], settings: ModelSettings, box_size_voxel: int, precision: Precision = "32-true"
) -> int:
    """Return how many boxes to sample at once: a function of the hardware, not of what else runs on it.

    Parameters
    ----------
    devices : as `choose_devices` returns them.
    settings : of the network.
    box_size_voxel : edge of a box.
    """
    if devices[0].type == "cpu":
        return max(1, min(_MAX_BATCH, _CPU_VOXELS * settings.bands // box_size_voxel**3))
    memory = min(memory_of(device) for device in devices)
    return max(1, min(_MAX_BATCH, memory // 2 // bytes_per_box(settings, box_size_voxel, precision)))
