"""The branch of the network that takes a painted layout, and the templates that it is painted with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.core.settings import ModelSettings
from frazil.model.layers import Halve, start_at_zero
from frazil.model.steady import SteadyConv3d
from frazil.volume.layout import MORE_PLANES, Painter

if TYPE_CHECKING:
    from frazil.model.bundle import BundleCard
    from frazil.model.unet import ConditionalUNet


class LayoutBranch(nn.Module):
    """Planes of a layout as something to add to the output of each level of the encoder, and of the bottleneck.

    Two 3^3 convolutions, then a halving per level; a 1^3 convolution, which starts at zero, leads to each. So a trained network to
    which the branch is added does at first what it did before.
    """

    templates: Tensor

    def __init__(self, settings: ModelSettings, label_count: int) -> None:
        super().__init__()
        channels, levels = settings.layout_channels, settings.level_channels
        self.conv1 = SteadyConv3d(label_count + MORE_PLANES, channels, kernel_size=3, padding=1)
        self.conv2 = SteadyConv3d(channels, channels, kernel_size=3, padding=1)
        self.halve = nn.ModuleList(Halve(channels) for _ in levels)
        self.into = nn.ModuleList(
            start_at_zero(SteadyConv3d(channels, width, kernel_size=1)) for width in (*levels, levels[-1])
        )
        edge = settings.layout_template_voxel
        self.register_buffer(
            "templates", torch.zeros(label_count, 1, edge, edge, edge)
        )  # a lone 4D tensor has no channels to put last

    def forward(self, planes: Float[Tensor, "b planes z y x"]) -> list[Tensor]:
        """Return what to add to each level, finest first, and last to the bottleneck."""
        h = F.silu(self.conv1(planes))
        h = F.silu(self.conv2(h))
        added = [self.into[0](h)]
        for halve, into in zip(self.halve, self.into[1:], strict=True):
            h = F.silu(halve(h))
            added.append(into(h))
        return added


def painter_of(network: ConditionalUNet, card: BundleCard) -> Painter:
    """Return what paints layouts for the network of a bundle that takes them."""
    assert network.layout is not None
    assert card.voxel_size_angstrom is not None  # a network with layouts was trained on a tomogram store
    radii = [card.radius_angstrom[label] / card.voxel_size_angstrom for label in card.labels]
    return Painter(
        network.layout.templates[:, 0].cpu().contiguous(), radii, 1 if card.preset.model.front_end == "none" else 2
    )
