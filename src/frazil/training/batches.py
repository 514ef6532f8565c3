"""Batches with their noise. Noise and noise level of an example are drawn from (seed, epoch, key): the same on every device and restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from frazil.core.records import Condition
from frazil.core.seeds import torch_generator
from frazil.core.settings import Preset
from frazil.dataset.examples import Example, Examples, join
from frazil.training.loader import AheadLoader, Waiting
from frazil.training.plan import EpochPlan, MicroBatch


@dataclass(frozen=True)
class NoisyBatch:
    """Clean normalized volumes x0, their condition, and the standard normal noise and noise level that the network will have to remove.

    For `share` see `MicroBatch`.
    """

    volumes: Float[Tensor, "b 1 z y x"]
    condition: Condition
    t: Int64[Tensor, "b"]
    noise: Float[Tensor, "b 1 z y x"]
    share: float = 1.0

    def __len__(self) -> int:
        return int(self.t.shape[0])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> NoisyBatch:
        """Return the same batch on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> NoisyBatch:
        """Return the same batch in page-locked memory, from which a GPU copies faster."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> NoisyBatch:
        return NoisyBatch(
            change(self.volumes), self.condition.each(change), change(self.t), change(self.noise), self.share
        )


def _assemble(items: list[Example], t: list[int], noise: list[Tensor], share: float = 1.0) -> NoisyBatch:
    volumes, condition = join(items)
    return NoisyBatch(volumes, condition, torch.tensor(t), torch.stack(noise), share)


class _NoisyBatches(Dataset[NoisyBatch]):
    def __init__(self, examples: Examples, preset: Preset) -> None:
        self.examples = examples
        self.settings = preset.training
        self.timesteps = preset.diffusion.timesteps


class TrainingBatches(_NoisyBatches):
    """Indexed by `MicroBatch`: t uniform on 0..T-1 (the paper), noise standard normal.

    A share `class_dropout` of the labels and layouts, drawn again in every epoch, is hidden.
    """

    def __getitem__(self, batch: MicroBatch) -> NoisyBatch:
        items, levels, noises = [], [], []
        for row in batch.rows:
            item = self.examples.drawn(row, batch.epoch)
            generator = torch_generator(self.settings.seed, "noise", batch.epoch, item.key)
            levels.append(int(torch.randint(self.timesteps, (1,), generator=generator)))
            noises.append(torch.randn(item.volume.shape, generator=generator))
            # drawn last: the noise is the same with and without it
            hidden = bool(torch.rand(1, generator=generator) < self.settings.class_dropout)
            items.append(item.without_label() if hidden else item)
        return _assemble(items, levels, noises, batch.share)


class ValidationBatches(_NoisyBatches):
    """Indexed by pairs of example and draw. Every draw has a fixed noise level, one in each stratum of 0..T-1, and fixed noise.

    The validation curve then moves only as the network does; examples are never varied.
    """

    def __getitem__(self, pairs: list[tuple[int, int]]) -> NoisyBatch:
        items, levels, noises = [], [], []
        for row, draw in pairs:
            item = self.examples.fixed(row)
            generator = torch_generator(self.settings.seed, "validation", item.key, draw)
            stratum = draw + float(torch.rand(1, generator=generator))
            levels.append(min(int(stratum * self.timesteps / self.settings.validation_draws), self.timesteps - 1))
            noises.append(torch.randn(item.volume.shape, generator=generator))
            items.append(item)
        return _assemble(items, levels, noises)


class SegmentSampler(Sampler[MicroBatch]):
    """Deals the micro-batches of the current segment to one device. Lightning's epoch is frazil's segment."""

    def __init__(self, plan: EpochPlan, *, rank: int, segment: int) -> None:
        self.plan = plan
        self.rank = rank
        self.number = segment

    def set_epoch(self, number: int) -> None:
        """Choose the segment; Lightning calls this before each of its epochs."""
        self.number = number

    def __iter__(self) -> Iterator[MicroBatch]:
        return iter(self.plan.segment(self.number, rank=self.rank))

    def __len__(self) -> int:
        return self.plan.steps_per_segment * self.plan.accumulate


def validation_loader(
    batches: ValidationBatches, *, batch_size: int, rank: int, devices: int, waiting: Waiting
) -> AheadLoader[NoisyBatch]:
    """Return the loader of one device's part of the validation pairs, in a fixed order."""
    draws = range(batches.settings.validation_draws)
    pairs = [(row, draw) for row in range(len(batches.examples)) for draw in draws][rank::devices]
    chunks: Any = [pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size)]
    return AheadLoader(batches, chunks, waiting=waiting)
