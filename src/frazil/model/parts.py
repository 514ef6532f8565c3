"""Parts of a network by name, so that some of them can be frozen in a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frazil.core.settings import NetworkPart
    from frazil.model.unet import ConditionalUNet

MODULES: dict[NetworkPart, tuple[str, ...]] = {
    "embedding": ("embed",),
    "encoder": ("enc", "down"),
    "bottleneck": ("bot", "attention"),
    "decoder": ("up", "dec"),
    "output": ("out_conv",),
}
"""Name stems of the modules of each part; every module with weights belongs to one."""


def part_of(name: str) -> NetworkPart:
    """Return the part that a module or one of its weights belongs to.

    Parameters
    ----------
    name : as in the network's state, e.g. ``enc1.conv1.weight``.

    Raises
    ------
    KeyError : it belongs to none, like the front end, which has no weights.
    """
    stem = name.split(".")[0].rstrip("0123456789")
    for part, stems in MODULES.items():
        if stem in stems:
            return part
    raise KeyError(f"{name} belongs to no part of the network")


def freeze(network: ConditionalUNet, parts: Iterable[NetworkPart]) -> None:
    """Freeze the weights of `parts`; all others are trained."""
    frozen = set(parts)
    for name, weight in network.named_parameters():
        weight.requires_grad_(part_of(name) not in frozen)
