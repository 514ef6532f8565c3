"""A small picker: a 3D U-Net that gives every voxel a class, and places where a class is most likely.

It stands for the pickers that people train, which it resembles (targets as octopi makes them: a ball in each particle), not for the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.ndimage import gaussian_filter, maximum_filter
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.core.seeds import numpy_generator, torch_generator
from frazil.core.settings import TrainingSettings
from frazil.dataset.split import TRAIN
from frazil.dataset.tomograms.store import TomogramStore
from frazil.dataset.tomograms.windows import Windows
from frazil.model.compute import Compute, native_precision
from frazil.volume.layout import MORE_PLANES, Painter

STRIDE_VOXEL = 2
"""Classes are given at half the resolution of the tomogram, as in front ends."""

_BALL = 0.5
"""Radius of the ball that marks a particle, as a share of its own."""

_EDGE_VOXEL, _MULTIPLE = 64, 16
_HALO_VOXEL = 16
_CORE_VOXEL = 192
"""A window takes some 3 GB; smaller ones spend more of it on halos."""

_BACKGROUND_WEIGHT = 0.1
_APART = 0.8
"""Two picks of a class are at least this share of the radius apart."""


class PickerNetwork(nn.Module):
    """Three levels of two 3^3 convolutions, from a tomogram to logits of background and `classes` at half its resolution."""

    def __init__(self, classes: int, channels: int = 24) -> None:
        super().__init__()
        widths = [channels, 2 * channels, 4 * channels]
        self.stem = nn.Conv3d(1, channels, 4, stride=STRIDE_VOXEL, padding=1)
        self.down = nn.ModuleList(_block(width // 2 if level else width, width) for level, width in enumerate(widths))
        self.up = nn.ModuleList(_block(width + 2 * width, width) for width in widths[:-1])
        self.out = nn.Conv3d(channels, 1 + classes, 1)

    def forward(self, volume: Float[Tensor, "b 1 z y x"]) -> Float[Tensor, "b classes half_z half_y half_x"]:
        """Return the logits; edges are multiples of 8."""
        h, kept = self.stem(volume), []
        for level, block in enumerate(self.down):
            h = block(F.avg_pool3d(h, 2) if level else h)
            kept.append(h)
        for level in reversed(range(len(self.up))):
            h = self.up[level](torch.cat([F.interpolate(h, scale_factor=2), kept[level]], dim=1))
        return self.out(h)  # type: ignore[no-any-return]


def _block(channels: int, width: int) -> nn.Sequential:
    norms = [nn.GroupNorm(8, width) for _ in range(2)]
    return nn.Sequential(
        nn.Conv3d(channels, width, 3, padding=1), norms[0], nn.SiLU(),
        nn.Conv3d(width, width, 3, padding=1), norms[1], nn.SiLU(),
    )  # fmt: skip


@dataclass(frozen=True)
class Picker:
    """A trained network, and what its classes are."""

    network: PickerNetwork
    labels: tuple[str, ...]
    radii_voxel: tuple[float, ...]

    @torch.no_grad()
    def probabilities(self, volume: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "k half_z half_y half_x"]:
        """Return how likely each class is, in a normalized tomogram of any shape, window by window with a halo."""
        shape = [-(-edge // STRIDE_VOXEL) for edge in volume.shape]
        found = np.zeros((len(self.labels), *shape), dtype=np.float32)
        padded = np.pad(
            volume, [(_HALO_VOXEL, _HALO_VOXEL + -edge % _MULTIPLE) for edge in volume.shape], mode="reflect"
        )
        core, halo = _CORE_VOXEL, _HALO_VOXEL // STRIDE_VOXEL
        compute = Compute.named(native_precision("cpu"))
        for start in np.ndindex(*[-(-edge // core) for edge in volume.shape]):
            low = [at * core for at in start]
            high = [
                min(at + core, -(-edge // _MULTIPLE) * _MULTIPLE) for at, edge in zip(low, volume.shape, strict=True)
            ]
            seen = padded[tuple(slice(a, b + 2 * _HALO_VOXEL) for a, b in zip(low, high, strict=True))]
            with compute.autocast("cpu"):
                logits = self.network(torch.from_numpy(seen.astype(np.float32))[None, None])
            share = logits.float().softmax(dim=1)[0, 1:, halo:-halo, halo:-halo, halo:-halo].numpy()
            target = tuple(
                slice(a // STRIDE_VOXEL, a // STRIDE_VOXEL + n) for a, n in zip(low, share.shape[1:], strict=True)
            )
            place = found[(slice(None), *target)]
            place[...] = share[(slice(None), *map(slice, place.shape[1:]))]
        return found

    def pick(
        self, volume: Float[np.ndarray, "z y x"], least: float = 0.05
    ) -> dict[str, tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]]:
        """Return centers (zyx, voxels of the tomogram) and scores of each class: peaks of the probability, averaged over a ball's width."""
        picks = {}
        for label, radius, share in zip(self.labels, self.radii_voxel, self.probabilities(volume), strict=True):
            ball = _BALL * radius / STRIDE_VOXEL
            smooth = gaussian_filter(share, ball / 2)
            reach = 2 * int(np.ceil(_APART * radius / STRIDE_VOXEL)) + 1
            peaks = (smooth == maximum_filter(smooth, reach)) & (smooth > least)
            centers = np.argwhere(peaks) * STRIDE_VOXEL + (STRIDE_VOXEL - 1) / 2
            picks[label] = centers, smooth[peaks]
        return picks


def target(planes: Float[Tensor, "b planes z y x"]) -> Int64[Tensor, "b z y x"]:
    """Return the class of each voxel of painted balls, 0 for background."""
    strongest, label = planes[:, :-MORE_PLANES].max(dim=1)
    return (label + 1) * (strongest > 0.5)


def train_picker(
    stores: Sequence[tuple[TomogramStore, float]],
    labels: Sequence[str],
    *,
    steps: int,
    seed: int = 0,
    batch_size: int = 2,
    learning_rate: float = 1e-3,
    on_step: Callable[[float], None] = lambda _: None,
) -> Picker:
    """Train a picker on the training particles of tomogram stores, each with its share of the windows.

    The learning rate falls to zero as a cosine; windows are turned by half turns. `on_step` gets the loss.
    """
    radii = _radii_voxel(stores[0][0], labels)
    painter = Painter(torch.zeros(len(labels), 3, 3, 3), [_BALL * radius for radius in radii], STRIDE_VOXEL)
    settings = TrainingSettings(seed=seed, half_turns=True)
    sets = [
        Windows(
            store, TRAIN, painter, settings,
            edge_voxel=_EDGE_VOXEL, multiple=_MULTIPLE, classes=labels, in_memory=True,
        )
        for store, _ in stores
    ]  # fmt: skip
    compute = Compute.named(native_precision("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch_generator(seed, "picker").initial_seed()))
        network = compute.lay_out(PickerNetwork(len(labels)))
    weights = torch.ones(1 + len(labels))
    weights[0] = _BACKGROUND_WEIGHT
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    shares = np.array([share for _, share in stores])
    for step in range(steps):
        random = numpy_generator(seed, "picker batch", step)
        chosen = [sets[row] for row in random.choice(len(sets), size=batch_size, p=shares / shares.sum())]
        items = [windows.drawn(int(random.integers(len(windows))), epoch=step) for windows in chosen]
        volumes = torch.stack([item.volume for item in items])
        wanted = target(torch.stack([item.layout for item in items if item.layout is not None]))
        with compute.autocast("cpu"):
            logits = network(volumes)
        loss = F.cross_entropy(logits.float(), wanted, weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(loss.item())
    return Picker(network.eval(), tuple(labels), tuple(radii))


def _radii_voxel(store: TomogramStore, labels: Sequence[str]) -> list[float]:
    described = store.description
    return [described.radii_angstrom[label] / described.voxel_size_angstrom for label in labels]
