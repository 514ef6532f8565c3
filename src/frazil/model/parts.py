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
    """Return the part that a module or a weight (``enc1.conv1.weight``) belongs to; the front end, which has no weights, has none."""
    stem = name.split(".")[0].rstrip("0123456789")
    return next(part for part, stems in MODULES.items() if stem in stems)


def freeze(network: ConditionalUNet, parts: Iterable[NetworkPart]) -> None:
    """Freeze the weights of `parts`; all others are trained."""
    frozen = set(parts)
    for name, weight in network.named_parameters():
        weight.requires_grad_(part_of(name) not in frozen)
