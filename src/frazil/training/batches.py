"""Batches with their noise. Noise and noise level of a box are drawn from (seed, epoch, box): the same on every device and restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from frazil.core.records import NULL_LABEL, Condition
from frazil.core.seeds import numpy_generator, torch_generator
from frazil.dataset.subtomograms import Subtomogram, Subtomograms, collate
from frazil.dataset.variation import Variation
from frazil.training.loader import AheadLoader, Waiting
from frazil.training.plan import EpochPlan, MicroBatch


@dataclass(frozen=True)
class NoisyBatch:
    """Clean boxes, their condition, and the noise and noise level that the network will have to remove.

    Parameters
    ----------
    volumes : `(b, 1, z, y, x)` z-scored boxes, x0.
    condition : what each box shows and where it lies.
    t : `(b,)` noise level of each box, 0..T-1.
    noise : `(b, 1, z, y, x)` standard normal.
    share : factor on the sum of the losses, see `MicroBatch`.
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
        return replace(
            self,
            volumes=self.volumes.to(device, non_blocking=non_blocking),
            condition=Condition(
                self.condition.label.to(device, non_blocking=non_blocking),
                self.condition.position.to(device, non_blocking=non_blocking),
            ),
            t=self.t.to(device, non_blocking=non_blocking),
            noise=self.noise.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> NoisyBatch:
        """Return the same batch in page-locked memory, from where a GPU fetches faster."""
        return replace(
            self,
            volumes=self.volumes.pin_memory(),
            condition=Condition(self.condition.label.pin_memory(), self.condition.position.pin_memory()),
            t=self.t.pin_memory(),
            noise=self.noise.pin_memory(),
        )


def _assemble(items: Sequence[Subtomogram], t: list[int], noise: list[Tensor], share: float) -> NoisyBatch:
    batch = collate(list(items))
    return NoisyBatch(batch.volumes, batch.condition, torch.tensor(t), torch.stack(noise), share)


class TrainingBatches(Dataset[NoisyBatch]):
    """Indexed by `MicroBatch`: t uniform on 0..T-1 (the paper), noise standard normal; some labels are hidden.

    Parameters
    ----------
    class_dropout : how likely the label of a box is replaced by `NULL_LABEL`; drawn anew in every epoch.
    variation : how boxes are cut and varied; None shows them as they are.
    """

    def __init__(
        self,
        subtomograms: Subtomograms,
        *,
        timesteps: int,
        seed: int,
        class_dropout: float = 0.0,
        variation: Variation | None = None,
    ) -> None:
        self.subtomograms = subtomograms
        self.timesteps = timesteps
        self.seed = seed
        self.class_dropout = class_dropout
        self.variation = variation or Variation()

    def __getitem__(self, batch: MicroBatch) -> NoisyBatch:
        items, levels, noises = [], [], []
        for row in batch.rows:
            item = self._shown(self.subtomograms[row], batch.epoch)
            generator = torch_generator(self.seed, "noise", batch.epoch, item.index)
            levels.append(int(torch.randint(self.timesteps, (1,), generator=generator)))
            noises.append(torch.randn(item.volume.shape, generator=generator))
            hidden = bool(torch.rand(1, generator=generator) < self.class_dropout)  # drawn last: the noise is the same
            items.append(replace(item, label=NULL_LABEL) if hidden else item)
        return _assemble(items, levels, noises, batch.share)

    def _shown(self, item: Subtomogram, epoch: int) -> Subtomogram:
        if not self.variation.varies:
            return self.variation.middle(item)
        return self.variation.vary(item, numpy_generator(self.seed, "variation", epoch, item.index))


class ValidationBatches(Dataset[NoisyBatch]):
    """Every box at `draws` fixed noise levels, one in each stratum of 0..T-1, with fixed noise.

    The validation curve then moves only as the network does; boxes are cut as in training, but never varied.
    """

    def __init__(
        self, subtomograms: Subtomograms, *, timesteps: int, draws: int, seed: int, variation: Variation | None = None
    ) -> None:
        self.subtomograms = subtomograms
        self.timesteps = timesteps
        self.draws = draws
        self.seed = seed
        self.variation = variation or Variation()

    def __getitem__(self, pairs: list[tuple[int, int]]) -> NoisyBatch:
        items, levels, noises = [], [], []
        for row, draw in pairs:
            item = self.variation.middle(self.subtomograms[row])
            generator = torch_generator(self.seed, "validation", item.index, draw)
            offset = float(torch.rand(1, generator=generator))
            levels.append(min(int((draw + offset) * self.timesteps / self.draws), self.timesteps - 1))
            noises.append(torch.randn(item.volume.shape, generator=generator))
            items.append(item)
        return _assemble(items, levels, noises, 1.0)


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


def _as_is(batch: Any) -> Any:
    return batch


def training_loader(
    batches: TrainingBatches, sampler: SegmentSampler, *, workers: int, waiting: Waiting | None = None
) -> AheadLoader[NoisyBatch]:
    """Return the loader of one device; it pins memory where there is a GPU.

    Parameters
    ----------
    workers : processes that prepare batches ahead; 0 leaves it to a thread of this one.
    waiting : where the time is added up that the network waits.
    """
    return _loader(batches, sampler, workers, waiting)


def validation_loader(
    batches: ValidationBatches, *, batch_size: int, rank: int, devices: int, waiting: Waiting | None = None
) -> AheadLoader[NoisyBatch]:
    """Return the loader of one device's part of the validation pairs, in a fixed order."""
    pairs = [(row, draw) for row in range(len(batches.subtomograms)) for draw in range(batches.draws)][rank::devices]
    chunks = [pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size)]
    return _loader(batches, chunks, 0, waiting)


def _loader(
    batches: Dataset[NoisyBatch], sampler: Any, workers: int, waiting: Waiting | None
) -> AheadLoader[NoisyBatch]:
    # batch_size=None: the sampler yields whole batches, which the dataset assembles
    return AheadLoader(
        batches,
        waiting=waiting or Waiting(),
        batch_size=None,
        sampler=cast("Sampler[Any]", sampler),
        collate_fn=_as_is,
        num_workers=workers,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
    )
