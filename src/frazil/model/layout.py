"""The branch of the network that takes a painted layout, and the templates that it is painted with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.core.settings import ModelSettings
from frazil.model.layers import Halve, start_at_zero
from frazil.model.steady import ExactConv3d, SteadyConv3d, SteadyLinear
from frazil.model.wavelet import FrontEnd
from frazil.volume.layout import MORE_PLANES, Painter

if TYPE_CHECKING:
    from frazil.model.bundle import BundleCard
    from frazil.model.unet import ConditionalUNet


_DRAWN = 5
"""Edge of the filter that draws the density: behind a front end 10 voxels of the tomogram."""


class LayoutBranch(nn.Module):
    """What a painted layout adds to the network: to each level of the encoder, to the bottleneck, and to the output.

    The bands of the density, which is the sum of all classes, follow the planes, averaged onto the grid behind the front end: nothing of
    what is painted of particles is lost. Label maps are averaged alone: the density is what templates are in, and they are not. Two 3^3
    convolutions, then a halving per level; a 1^3 convolution leads to each level.
    The density is also drawn into the output by one linear filter, as much of it as the condition asks for, above all the noise
    level. All of this starts at zero. So a trained network to which the branch is added does at first what it did before.
    """

    templates: Tensor

    def __init__(self, settings: ModelSettings, label_count: int, condition_width: int) -> None:
        super().__init__()
        channels, levels, bands = settings.layout_channels, settings.level_channels, settings.bands
        self.stride = 1 if settings.front_end == "none" else 2
        self.conv1 = SteadyConv3d(
            label_count + len(settings.layout_maps) + MORE_PLANES + bands, channels, kernel_size=3, padding=1
        )
        self.conv2 = SteadyConv3d(channels, channels, kernel_size=3, padding=1)
        self.halve = nn.ModuleList(Halve(channels) for _ in levels)
        self.into = nn.ModuleList(
            start_at_zero(SteadyConv3d(channels, width, kernel_size=1)) for width in (*levels, levels[-1])
        )
        self.draw = start_at_zero(ExactConv3d(bands, bands, kernel_size=_DRAWN, padding=_DRAWN // 2))
        self.share = start_at_zero(SteadyLinear(condition_width, bands))
        edge = settings.layout_template_voxel
        self.register_buffer(
            "templates", torch.zeros(label_count, 1, edge, edge, edge)
        )  # a lone 4D tensor has no channels to put last

    def density(self, planes: Float[Tensor, "b planes z y x"], front_end: FrontEnd) -> Float[Tensor, "b bands z y x"]:
        """Return the bands of the sum of all classes, on the scale of the volume's bands."""
        bands = front_end.split(planes[:, : len(self.templates)].sum(dim=1, keepdim=True))
        return bands / front_end.band_scale(bands.device)[:, None, None, None]

    def forward(self, planes: Float[Tensor, "b planes z y x"], front_end: FrontEnd) -> tuple[Tensor, ...]:
        """Return what to add to the output's bands before its share is taken; then to each level, finest first, and to the bottleneck."""
        density = self.density(planes, front_end)
        h = F.silu(self.conv1(torch.cat([F.avg_pool3d(planes, self.stride), density], dim=1)))
        h = F.silu(self.conv2(h))
        read = [self.draw(density), self.into[0](h)]
        for halve, into in zip(self.halve, self.into[1:], strict=True):
            h = F.silu(halve(h))
            read.append(into(h))
        return tuple(read)

    def drawn_share(self, condition: Float[Tensor, "b w"]) -> Float[Tensor, "b bands 1 1 1"]:
        """Return how much of what is drawn each band takes."""
        share: Tensor = self.share(condition).float()
        return 1 + share[:, :, None, None, None]


def painter_of(network: ConditionalUNet, card: BundleCard) -> Painter:
    """Return what paints layouts for the network of a bundle that takes them."""
    assert network.layout is not None
    return Painter(network.layout.templates[:, 0].cpu().contiguous(), card.radii_voxel, map_count=len(card.maps))
