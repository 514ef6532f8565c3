"""What a picker learns from: windows of tomograms, the class of each of their voxels, and what varies them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.ndimage import gaussian_filter
from torch import Tensor

from frazil.core.memory import machine_memory
from frazil.core.records import Layout
from frazil.core.seeds import numpy_generator
from frazil.core.settings import TrainingSettings
from frazil.dataset.split import TRAIN
from frazil.dataset.tables import CENTER_VOXEL
from frazil.dataset.tomograms.store import TomogramStore
from frazil.dataset.tomograms.windows import Windows
from frazil.proof.arms import ANNOTATED, Arm
from frazil.proof.picker import EDGE, ball_painter, stride_voxel, target
from frazil.volume.layout import Painter
from frazil.volume.turns import SIGNS, draw_turns, wedge_turns

_GAIN = _OFFSET = 0.1
_NOISE, _BLUR_VOXEL = 0.4, 1.0
"""Augmentation, in spreads of the tomogram: standard deviations of gain and offset, the largest of noise and of its width."""

_PASTED = 8
"""Particles that are pasted into a window, in the mean."""

_MARGIN = 1.15
"""Radius of what is pasted, in those of the particle."""

_KEPT_SHARE = 0.25
"""Of the memory of the machine that tomograms may fill."""


@dataclass(frozen=True)
class Patch:
    """A particle that was cut out: gray values, in a cube about its center."""

    label: int
    volume: Float32[np.ndarray, "n n n"]


class PickerExamples:
    """Windows of several stores in the shares of an arm, each with its classes.

    Parameters
    ----------
    stores : by source; their training regions are used. All have the same voxel size.
    labels : classes to tell apart, in order; particles of others are background.
    """

    def __init__(self, stores: Mapping[str, TomogramStore], labels: Sequence[str], arm: Arm, seed: int) -> None:
        described = stores[ANNOTATED].description
        self.stride = stride_voxel(described.voxel_size_angstrom)
        self.radii_voxel = tuple(described.radii_angstrom[label] / described.voxel_size_angstrom for label in labels)
        self._balls = ball_painter(self.radii_voxel, self.stride)
        self._arm, self._seed = arm, seed
        used = [stores[name] for name in arm.shares]
        self._shares = np.array(list(arm.shares.values())) / sum(arm.shares.values())
        whole = Painter(torch.zeros(len(labels), 3, 3, 3), self.radii_voxel, self.stride)
        settings = TrainingSettings(seed=seed, half_turns=arm.augmented)
        self._windows = [
            Windows(
                store, TRAIN, whole, settings,
                edge_voxel=EDGE * self.stride, multiple=4 * self.stride, classes=labels,
                in_memory=sum(some.nbytes for some in used) < _KEPT_SHARE * machine_memory(),
            )
            for store in used
        ]  # fmt: skip
        edges = np.min([windows.shape_voxel for windows in self._windows], axis=0)
        for windows in self._windows:
            windows.shape_voxel = tuple(edges.tolist())
        self._patches = _cut_out(stores[ANNOTATED], labels, self.radii_voxel) if arm.pasted else []
        self._turns = wedge_turns(described.tilt_range_degrees)

    def draw(self, *index: int) -> tuple[Float[Tensor, "1 z y x"], Int64[Tensor, "zs ys xs"]]:
        """Return a window and its classes; the same for the same seed and index, whatever was drawn before."""
        random = numpy_generator(self._seed, "picker window", *index)
        windows = self._windows[int(random.choice(len(self._windows), p=self._shares))]
        cut = windows.cut(int(random.integers(len(windows))), random, varied=self._arm.augmented)
        volume, layout = cut.volume, replace(cut.layout, center_voxel=cut.layout.center_voxel - cut.start_voxel)
        if self._patches:
            volume, layout = self._paste(volume.copy(), layout, random)
        if self._arm.augmented:
            volume, layout = _mirrored(volume, layout, random)
            volume = _other_grays(volume, random)
        planes = self._balls.paint(layout, (0, 0, 0), volume.shape)
        return torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None], target(planes)

    def _paste(
        self, volume: Float32[np.ndarray, "z y x"], layout: Layout, random: np.random.Generator
    ) -> tuple[Float32[np.ndarray, "z y x"], Layout]:
        """Put particles, turned by a half turn, where no other is; classes are equally likely."""
        radii = np.array(self.radii_voxel)
        for label in random.choice(sorted({patch.label for patch in self._patches}), size=random.poisson(_PASTED)):
            several = [patch for patch in self._patches if patch.label == label]
            patch = several[int(random.integers(len(several)))].volume
            center = np.array([int(random.integers(edge)) for edge in volume.shape])
            apart = np.linalg.norm(layout.center_voxel - center, axis=1)
            if (apart < radii[layout.label] + radii[label]).any():
                continue
            (turn,) = draw_turns(1, self._turns, random)
            patch = patch[tuple(slice(None, None, sign) for sign in SIGNS[turn])]
            half = len(patch) // 2
            low = np.maximum(center - half, 0)
            high = np.minimum(center + half + 1, volume.shape)
            there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            own = tuple(slice(a - c + half, b - c + half) for a, b, c in zip(low, high, center, strict=True))
            mask = _soft_ball(half, _MARGIN * radii[label])[own]
            volume[there] = (1 - mask) * volume[there] + mask * patch[own]
            layout = Layout(
                np.append(layout.label, label),
                np.concatenate([layout.center_voxel, center[None].astype(float)]),
                np.concatenate([layout.rotation, np.full((1, 3, 3), np.nan)]),
            )
        return volume, layout


def _cut_out(store: TomogramStore, labels: Sequence[str], radii_voxel: Sequence[float]) -> list[Patch]:
    """Cut out the training particles that lie well inside their tomograms."""
    patches = []
    rows = store.particles[(store.particles["split"] == TRAIN) & store.particles["label"].isin(labels)]
    for run, some in rows.groupby("run"):
        volume, shape = store.array(str(run)), store.description.tomograms[str(run)].shape_voxel
        for label, center in zip(some["label"], np.rint(some[CENTER_VOXEL].to_numpy()).astype(int), strict=True):
            number = labels.index(label)
            half = int(np.ceil(_MARGIN * radii_voxel[number])) + 1
            if (center >= half).all() and (center + half < shape).all():
                spans = tuple(slice(at - half, at + half + 1) for at in center)
                patches.append(Patch(number, volume[spans].astype(np.float32)))
    return patches


def _soft_ball(half: int, radius: float) -> Float[np.ndarray, "n n n"]:
    axis = np.arange(-half, half + 1.0)
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return np.asarray(np.clip((radius - distance) / 2 + 0.5, 0, 1))


def _mirrored(
    volume: Float32[np.ndarray, "z y x"], layout: Layout, random: np.random.Generator
) -> tuple[Float32[np.ndarray, "z y x"], Layout]:
    """Mirror x in half of the windows. Particles of the wrong hand are not real; at this resolution few can tell."""
    if random.uniform() < 0.5:
        return volume, layout
    center = layout.center_voxel.copy()
    center[:, 2] = volume.shape[2] - 1 - center[:, 2]
    return volume[..., ::-1], replace(layout, center_voxel=center)


def _other_grays(volume: Float32[np.ndarray, "z y x"], random: np.random.Generator) -> Float[np.ndarray, "z y x"]:
    """Return the window with another contrast and brightness, and with noise of some width."""
    noise = gaussian_filter(random.standard_normal(volume.shape, dtype=np.float32), random.uniform(0, _BLUR_VOXEL))
    noise *= random.uniform(0, _NOISE) / noise.std()
    return np.asarray(volume * np.exp(random.normal(0, _GAIN)) + random.normal(0, _OFFSET) + noise)
