"""An epoch shows every box once, however it is cut and shared."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import SettingsError
from frazil.training.plan import MAX_STEPS_PER_SEGMENT, EpochPlan


def boxes_of_epoch(plan: EpochPlan, epoch: int, ranks: range) -> list[int]:
    segments = range(epoch * plan.segments_per_epoch, (epoch + 1) * plan.segments_per_epoch)
    return [
        row for number in segments for rank in ranks for piece in plan.segment(number, rank=rank) for row in piece.rows
    ]


@given(boxes=st.integers(4, 2000), batch_size=st.integers(4, 40), devices=st.integers(1, 2), epoch=st.integers(0, 3))
def test_every_box_is_shown_once_an_epoch_or_a_few_are_left_out(boxes, batch_size, devices, epoch):
    try:
        plan = EpochPlan(boxes, batch_size, devices=devices, accumulate=2 // devices, seed=3)
    except SettingsError:
        assert boxes // math.ceil(boxes / batch_size) < 4
        return
    shown = boxes_of_epoch(plan, epoch, range(devices))
    assert len(set(shown)) == len(shown)
    left_out = math.ceil(boxes / batch_size) - plan.steps_per_epoch
    if left_out <= 0:
        assert len(shown) == boxes
    else:
        assert boxes - len(shown) <= left_out * batch_size
        assert left_out <= 0.04 * plan.steps_per_epoch


@given(boxes=st.integers(1, 5000), batch_size=st.integers(1, 64))
def test_batches_are_never_larger_than_asked_and_segments_are_short(boxes, batch_size):
    plan = EpochPlan(boxes, batch_size)
    steps = math.ceil(boxes / batch_size)
    assert abs(plan.steps_per_epoch - steps) < plan.segments_per_epoch
    sizes = {len(piece.rows) for piece in plan.segment(0)}
    assert max(sizes) <= batch_size
    assert min(sizes) >= boxes // steps
    assert plan.steps_per_segment <= MAX_STEPS_PER_SEGMENT


@pytest.mark.parametrize(("boxes", "batch_size"), [(58, 2), (1496, 8), (1142, 16), (127, 4)])
def test_a_run_may_go_on_with_another_number_of_devices(boxes, batch_size):
    one, two = EpochPlan(boxes, batch_size), EpochPlan(boxes, batch_size, devices=2)
    assert (one.segments_per_epoch, one.steps_per_segment) == (two.segments_per_epoch, two.steps_per_segment)


def test_the_paper_takes_72_steps_an_epoch():
    # 90 % of 1,269 boxes in batches of 16
    assert EpochPlan(1142, 16).steps_per_epoch == 72


def test_two_devices_see_the_same_batches_as_one():
    one, two = EpochPlan(37, 8, seed=5), EpochPlan(37, 8, devices=2, seed=5)
    for number in range(3):
        for whole, *parts in zip(
            one.segment(number), two.segment(number, rank=0), two.segment(number, rank=1), strict=True
        ):
            assert sorted(whole.rows) == sorted(row for part in parts for row in part.rows)


def test_shares_give_the_mean_of_the_batch():
    # two devices average their gradients, two passes are averaged on each: the mean of (sum x share) must be the batch mean
    losses = {row: float(row * row) for row in range(23)}
    whole = EpochPlan(23, 9, seed=1)
    shared = EpochPlan(23, 9, devices=2, accumulate=2, seed=1)
    for step, batch in enumerate(whole.segment(0)):
        pieces = [shared.segment(0, rank=rank)[2 * step + k] for rank in range(2) for k in range(2)]
        mean = sum(piece.share * sum(losses[row] for row in piece.rows) for piece in pieces) / 4
        assert mean == pytest.approx(sum(losses[row] for row in batch.rows) / len(batch.rows))


def test_epochs_are_shuffled_differently_and_reproducibly():
    plan = EpochPlan(50, 50, seed=1)
    assert plan.segment(0) == EpochPlan(50, 50, seed=1).segment(0)
    assert plan.segment(0)[0].rows != plan.segment(1)[0].rows
    assert plan.segment(0)[0].rows != EpochPlan(50, 50, seed=2).segment(0)[0].rows


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(
        SettingsError, match=r"3 boxes cannot be shared by 4 devices .* raise training\.batch_size \(now 3\)"
    ):
        EpochPlan(9, 3, devices=4)
