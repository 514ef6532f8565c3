"""How much memory training takes, measured on the networks of the presets."""

from __future__ import annotations

from frazil.core.settings import ModelSettings, Precision

_FIXED = 3 * 2**28
"""PyTorch itself, weights, gradients, averages and moments of a network of some million parameters."""


def bytes_per_box(
    settings: ModelSettings, box_size_voxel: int, precision: Precision, *, checkpoint_activations: bool = False
) -> int:
    """Return about how much memory one box of a pass takes with its gradients: an upper bound, measured to be below twice.

    Kept for the gradients is some 25 times the channels of the finest level, 17 with `checkpoint_activations`; kernels need
    up to two thirds as much again, and freed memory that is kept the rest.

    Parameters
    ----------
    settings : of the network.
    box_size_voxel : edge of a box.
    """
    voxels = box_size_voxel**3
    volumes = 26 if checkpoint_activations else 40
    level = volumes * settings.level_channels[0] * (voxels // settings.bands) * (2 if precision == "bf16-mixed" else 4)
    return level + 16 * voxels * 4  # and the volumes that go in and come out, in float32


def bytes_of_a_pass(
    settings: ModelSettings,
    box_size_voxel: int,
    precision: Precision,
    *,
    boxes: int,
    checkpoint_activations: bool = False,
) -> int:
    """Return about how much memory a training takes whose passes hold so many boxes, the network itself included."""
    per_box = bytes_per_box(settings, box_size_voxel, precision, checkpoint_activations=checkpoint_activations)
    return _FIXED + boxes * per_box
