"""Noise belongs to (seed, epoch, box); validation pairs never change."""

import torch

from frazil.core.records import NULL_LABEL
from frazil.core.settings import DiffusionSettings, Preset, TrainingSettings
from frazil.dataset.examples import BoxExamples
from frazil.dataset.variation import Variation
from frazil.training.batches import SegmentSampler, TrainingBatches, ValidationBatches, validation_loader
from frazil.training.loader import AheadLoader, Waiting
from frazil.training.plan import EpochPlan, MicroBatch

AS_IT_IS = Variation()


def preset_of(timesteps=1000, **training):
    return Preset(name="test", diffusion=DiffusionSettings(timesteps=timesteps), training=TrainingSettings(**training))


def training_batches(boxes, variation=AS_IT_IS, **settings):
    return TrainingBatches(BoxExamples(boxes, variation, seed=0), preset_of(**settings))


def validation_batches(boxes, variation=AS_IT_IS, **settings):
    return ValidationBatches(BoxExamples(boxes, variation, seed=0), preset_of(**settings))


def noise_by_box(batches, rows, epoch):
    batch = batches[MicroBatch(epoch, rows, 1.0)]
    return {row: (int(t), noise) for row, t, noise in zip(rows, batch.t, batch.noise, strict=True)}


def test_noise_does_not_depend_on_the_batch_but_on_seed_epoch_and_box(training_set):
    batches = training_batches(training_set, seed=1)
    one, other = noise_by_box(batches, (3, 5, 7), 0), noise_by_box(batches, (7, 2), 0)
    assert one[7][0] == other[7][0]
    assert torch.equal(one[7][1], other[7][1])
    assert not torch.equal(one[3][1], one[5][1])
    assert not torch.equal(noise_by_box(batches, (7,), 1)[7][1], one[7][1])
    assert not torch.equal(noise_by_box(training_batches(training_set, seed=2), (7,), 0)[7][1], one[7][1])


def test_noise_is_standard_normal_and_t_uniform(training_set):
    batches = training_batches(training_set, timesteps=10, seed=0)
    drawn = [batches[MicroBatch(epoch, tuple(range(20)), 1.0)] for epoch in range(50)]
    noise = torch.cat([batch.noise.flatten() for batch in drawn])
    assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
    assert abs(noise.std() - 1) < 4 / (2 * noise.numel()) ** 0.5
    counts = torch.bincount(torch.cat([batch.t for batch in drawn]), minlength=10)
    assert len(counts) == 10
    assert ((counts - 100).abs() < 4 * (1000 * 0.1 * 0.9) ** 0.5).all()


def test_labels_are_hidden_as_often_as_asked_and_nothing_else_changes(training_set):
    rows = tuple(range(20))
    plain = training_batches(training_set, timesteps=10, seed=0)
    dropping = training_batches(training_set, timesteps=10, seed=0, class_dropout=0.2)
    hidden = 0
    for epoch in range(50):
        whole, some = plain[MicroBatch(epoch, rows, 1.0)], dropping[MicroBatch(epoch, rows, 1.0)]
        null = some.condition.label == NULL_LABEL
        assert torch.equal(some.condition.label[~null], whole.condition.label[~null])
        assert (whole.condition.label >= 0).all()
        for one, other in [(whole.noise, some.noise), (whole.t, some.t), (whole.volumes, some.volumes)]:
            assert torch.equal(one, other)
        assert torch.equal(whole.condition.position, some.condition.position)
        hidden += int(null.sum())
    assert abs(hidden - 200) < 4 * (1000 * 0.2 * 0.8) ** 0.5


def test_a_hidden_label_belongs_to_seed_epoch_and_box(training_set):
    batches = training_batches(training_set, timesteps=10, seed=0, class_dropout=0.5)
    labels = batches[MicroBatch(3, tuple(range(20)), 1.0)].condition.label
    assert torch.equal(batches[MicroBatch(3, tuple(range(10, 20)), 1.0)].condition.label, labels[10:])
    assert not torch.equal(batches[MicroBatch(4, tuple(range(20)), 1.0)].condition.label, labels)


def test_validation_draws_are_stratified_and_fixed(validation_set):
    batches = validation_batches(validation_set, validation_draws=4, seed=0)
    pairs = [(1, draw) for draw in range(4)]
    one, again = batches[pairs], batches[pairs]
    assert (one.t // 250).tolist() == [0, 1, 2, 3]
    assert torch.equal(one.noise, again.noise)
    assert torch.equal(one.t, again.t)


def test_validation_is_shared_without_loss_or_repeat(validation_set):
    batches = validation_batches(validation_set, validation_draws=3, seed=0)
    levels = [
        t
        for rank in range(2)
        for batch in validation_loader(batches, batch_size=5, rank=rank, devices=2, waiting=Waiting())
        for t in batch.t.tolist()
    ]
    whole = [
        t
        for batch in validation_loader(batches, batch_size=100, rank=0, devices=1, waiting=Waiting())
        for t in batch.t.tolist()
    ]
    assert sorted(levels) == sorted(whole)
    assert len(whole) == 12


def test_a_loader_with_workers_gives_the_same_batches(training_set):
    plan = EpochPlan(20, 8)
    batches = training_batches(training_set, seed=1)
    sampler = SegmentSampler(plan, rank=0, segment=0)
    alone = list(AheadLoader(batches, sampler, workers=0, waiting=Waiting()))
    helped = list(AheadLoader(batches, sampler, workers=1, waiting=Waiting()))
    assert [len(batch) for batch in alone] == [7, 7, 6]
    assert all(
        torch.equal(a.noise, b.noise) and torch.equal(a.volumes, b.volumes) for a, b in zip(alone, helped, strict=True)
    )


def test_a_batch_moves_to_a_device_whole(training_set):
    batch = training_batches(training_set, timesteps=10, seed=0)[MicroBatch(0, (0, 1), 0.5)].to("meta")
    tensors = [batch.volumes, batch.t, batch.noise, batch.condition.label, batch.condition.position]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert batch.share == 0.5


def test_boxes_vary_from_epoch_to_epoch_and_the_noise_of_validation_stays(training_set, validation_set):
    variation = Variation(edge_voxel=4, shift_voxel=2)
    batches = training_batches(training_set, timesteps=10, seed=0, variation=variation)
    first, again, later = (batches[MicroBatch(epoch, (1, 2), 1.0)] for epoch in (0, 0, 1))
    assert first.volumes.shape == first.noise.shape == (2, 1, 4, 4, 4)
    assert torch.equal(first.volumes, again.volumes)
    assert torch.equal(first.condition.position, again.condition.position)
    assert not torch.equal(first.condition.position, later.condition.position)
    pairs = validation_batches(validation_set, timesteps=10, validation_draws=2, seed=0, variation=variation)[
        [(0, 0), (0, 1)]
    ]
    assert torch.equal(pairs.volumes[0], validation_set[0].volume[:, 2:6, 2:6, 2:6])
    assert (pairs.condition.position == 0.5).all()
