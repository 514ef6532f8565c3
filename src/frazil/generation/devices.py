"""Where a network runs, and how many volumes it takes at once."""

from __future__ import annotations

import torch

from frazil.errors import RequestError
from frazil.settings import ModelSettings

_CPU_VOXELS = 64**3
"""On a CPU a batch of larger boxes is no faster than one box after the other."""

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


def default_batch_size(devices: tuple[torch.device, ...], settings: ModelSettings, box_size_voxel: int) -> int:
    """Return how many boxes to sample at once: a function of the hardware, not of what else runs on it.

    Parameters
    ----------
    devices : as `choose_devices` returns them.
    settings : of the network.
    box_size_voxel : edge of a box.
    """
    voxels = box_size_voxel**3
    if devices[0].type == "cpu":
        return max(1, min(_MAX_BATCH, _CPU_VOXELS // voxels))
    # the finest level holds input, output, skip and what the convolution needs: some 8 times c channels in float32
    per_box = 8 * settings.base_channels * voxels * 4
    memory = min(torch.cuda.get_device_properties(device).total_memory for device in devices)
    return max(1, min(_MAX_BATCH, memory // 2 // per_box))
