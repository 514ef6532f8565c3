"""The conditional 3D U-Net, which predicts the clean volume x0; by default the paper's (Passi & Cohen)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from frazil.core.errors import ShapeError
from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, ModelSettings, NetworkPart
from frazil.model.embed import ConditionEmbedding
from frazil.model.layers import ConditionalResidualBlock, Double, Halve, SelfAttention, start_at_zero
from frazil.model.layout import LayoutBranch
from frazil.model.noise import NoiseSchedule
from frazil.model.precondition import Scales, edm_scales, inverse_variance_scales, plain_scales
from frazil.model.steady import ExactConv3d
from frazil.model.wavelet import FrontEnd

MODULES: dict[NetworkPart, tuple[str, ...]] = {
    "embedding": ("embed", "layout"),
    "encoder": ("enc", "down"),
    "bottleneck": ("bot", "attention"),
    "decoder": ("up", "dec"),
    "output": ("out_conv",),
}
"""Name stems of the modules of each part that can be frozen; every module with weights belongs to one."""


def check_box_size(box_size_voxel: Sequence[int], settings: ModelSettings) -> None:
    """Refuse a box (edges zyx) that the network cannot halve as often as it must: once per level, and once in a front end."""
    multiple = 2**settings.halvings
    for axis, edge in zip("zyx", box_size_voxel, strict=True):
        if edge < multiple or edge % multiple:
            below, above = edge // multiple * multiple, (max(edge, 0) // multiple + 1) * multiple
            nearest = f"{below} or {above}" if below > 0 else f"{above}"
            raise ShapeError(
                f"box edge {axis} = {edge} voxels is not a multiple of {multiple}, but the network halves it "
                f"{settings.halvings} times; the nearest that is: {nearest}"
            )


class ConditionalUNet(nn.Module):
    """Encoder, bottleneck, mirrored decoder with skip connections; every block sees the condition.

    The paper's has three levels. With base channels c they have c, 2c and 4c channels, the bottleneck 4c. The decoder counts
    from the bottleneck up: ``dec1`` is opposite ``enc3``. With c = 32, six classes and ``sum`` conditioning: 3,420,067
    parameters.

    The network proper works on the bands of a front end (`frazil.model.wavelet`), its input and output scaled
    (`frazil.model.precondition`); from outside it always maps noisy volumes to clean ones.
    """

    def __init__(self, settings: ModelSettings, label_count: int, diffusion: DiffusionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.schedule = NoiseSchedule.from_settings(diffusion)
        self.checkpoint_activations = False
        """Recompute the activations of a block for its gradients instead of keeping them."""
        self.front_end = FrontEnd(settings.front_end, settings.band_std)
        with_layouts = settings.layout_channels > 0
        self.embed = ConditionEmbedding(
            label_count, settings.embedding_width, settings.conditioning, tilts=with_layouts
        )
        self.layout = LayoutBranch(settings, label_count, self.embed.out_width) if with_layouts else None
        bands, levels = settings.bands, settings.level_channels
        block = partial(
            ConditionalResidualBlock,
            condition_width=self.embed.out_width,
            in_groups=settings.groups,
            out_groups=settings.groups,
            modulation=settings.modulation,
        )
        # the first norm has one group per band, so that a strong band does not drown a faint one
        first_block = partial(block, in_groups=bands, out_groups=settings.first_block_groups)
        channels = bands
        for level, wider in enumerate(levels, start=1):
            self.add_module(f"enc{level}", (first_block if level == 1 else block)(channels, wider))
            self.add_module(f"down{level}", Halve(wider))
            channels = wider
        self.bot = block(channels, channels)
        if settings.attention_heads:
            self.attention = SelfAttention(channels, heads=settings.attention_heads, groups=settings.groups)
        for step, skipped in enumerate(reversed(levels), start=1):
            narrower = levels[max(0, len(levels) - step - 1)]
            self.add_module(f"up{step}", Double(channels))
            self.add_module(f"dec{step}", block(channels + skipped, narrower))
            channels = narrower
        self.out_conv = ExactConv3d(channels, bands, kernel_size=3, padding=1)

    def forward(
        self, x_t: Float[Tensor, "b 1 z y x"], t: Int64[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b 1 z y x"]:
        """Predict the clean volumes x0 from noisy z-scored ones; timestep 0 is the least noise."""
        check_box_size(x_t.shape[2:], self.settings)
        bands = self.front_end.split(x_t)
        scales = self._scales(t)
        vector = self.embed(t, condition)
        drawn, *added = self.read(condition).read or (None,)
        h = self._features(bands if scales is None else scales.into * bands, vector, added)
        # the last layer leaves autocast: rounding x0 to bf16 would lift the faintest part of its spectrum
        out = self.out_conv(h)
        if drawn is not None:
            assert self.layout is not None
            out = out + self.layout.drawn_share(vector) * drawn
        return self.front_end.join(out if scales is None else scales.skip * bands + scales.out * out)

    def read(self, condition: Condition) -> Condition:
        """Return the condition with what the network takes from its layout, which is the same at all noise levels."""
        if self.layout is None or condition.read:
            return condition
        if condition.layout is None:
            raise ShapeError("the network takes a layout, and the condition has none; paint one, or zeros for none")
        return replace(condition, read=self.layout(condition.layout, self.front_end))

    def _features(
        self, h: Float[Tensor, "b bands z y x"], vector: Float[Tensor, "b w"], added: Sequence[Tensor] = ()
    ) -> Float[Tensor, "b c z y x"]:
        """Return what the last layer sees; `added` goes to the levels of the encoder and the bottleneck."""
        levels = len(self.settings.channel_multipliers)
        skips = []
        for level in range(1, levels + 1):
            h = self._run(f"enc{level}", h, vector)
            if added:
                h = h + added[level - 1]
            skips.append(h)
            h = self.get_submodule(f"down{level}")(h)
        h = self._run("bot", h, vector)
        if added:
            h = h + added[-1]
        if self.settings.attention_heads:
            h = self._run("attention", h)
        for step in range(1, levels + 1):
            h = torch.cat([self.get_submodule(f"up{step}")(h), skips.pop()], dim=1)
            h = self._run(f"dec{step}", h, vector)
        return h

    def _run(self, name: str, *inputs: Tensor) -> Any:
        block = self.get_submodule(name)
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)  # blocks draw nothing
        return block(*inputs)

    def _scales(self, t: Int64[Tensor, "b"]) -> Scales | None:
        """Return the scales of input and output; None if they are all 1."""
        if self.settings.preconditioning != "none":
            scales = edm_scales if self.settings.preconditioning == "edm" else inverse_variance_scales
            return scales(self.schedule.abar(t), self.front_end.band_scale(t.device))
        return None if self.settings.front_end == "none" else plain_scales(self.front_end.band_scale(t.device))


def build_network(
    settings: ModelSettings,
    label_count: int,
    diffusion: DiffusionSettings | None = None,
    *,
    generator: torch.Generator | None = None,
) -> ConditionalUNet:
    """Build the network with fresh weights, drawn like those of PyTorch's layers, but only from `generator`.

    Without a generator the seed is 0, so that the weights are always the same. Only a preconditioned network depends on the noise
    schedule that `diffusion` describes; None is the paper's.
    """
    network = empty_network(settings, label_count, diffusion).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    for layer in network.modules():
        if getattr(layer, "starts_at_zero", False):
            start_at_zero(layer)
        elif isinstance(layer, nn.GroupNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear | nn.Conv3d | nn.ConvTranspose3d):
            # U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weight and bias: PyTorch's own choice for these layers
            bound = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    network.front_end.reset_std()
    if network.layout is not None:
        network.layout.templates.zero_()
    return network


def empty_network(
    settings: ModelSettings, label_count: int, diffusion: DiffusionSettings | None = None
) -> ConditionalUNet:
    """Build the network on the meta device: names and shapes without memory, to be given weights; see `build_network`."""
    with torch.device("meta"):
        return ConditionalUNet(settings, label_count, diffusion or DiffusionSettings())


def part_of(name: str) -> NetworkPart:
    """Return the part that a weight belongs to, e.g. ``enc1.conv1.weight``."""
    stem = name.split(".")[0].rstrip("0123456789")
    return next(part for part, stems in MODULES.items() if stem in stems)


def freeze(network: ConditionalUNet, parts: Iterable[NetworkPart]) -> None:
    """Freeze the weights of `parts`; all others are trained."""
    frozen = set(parts)
    for name, weight in network.named_parameters():
        weight.requires_grad_(part_of(name) not in frozen)
