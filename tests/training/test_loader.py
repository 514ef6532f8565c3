"""The loader works ahead, changes nothing, and knows how long it kept the network waiting."""

import time

import pytest
from torch.utils.data import Dataset

from frazil.training.loader import AheadLoader, Waiting


class Slow(Dataset):
    """Takes its time over every batch."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        if index == 99:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        return index


def loader(dataset, waiting, batches=6, workers=0):
    return AheadLoader(dataset, list(range(batches)), waiting=waiting, workers=workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_slow_data_set_is_waited_for_and_the_time_is_told(workers):
    waiting = Waiting()
    assert list(loader(Slow(0.05), waiting, workers=workers)) == [0, 1, 2, 3, 4, 5]
    assert waiting.seconds > 6 * 0.05 * 0.9
    assert waiting.take() > 0
    assert waiting.seconds == 0


def test_while_the_network_computes_the_next_batch_is_prepared():
    waiting, dataset = Waiting(), Slow(0.05)
    for batch in loader(dataset, waiting):
        time.sleep(0.1)  # the network
        assert dataset.asked == list(range(min(batch + 2, 6)))
    assert 0.04 < waiting.seconds < 0.2  # the first batch; six would be 0.3


def test_an_error_comes_where_its_batch_would_and_ends_the_work():
    waiting, dataset = Waiting(), Slow(0.0)
    batches = iter(AheadLoader(dataset, [1, 2, 99, 3], waiting=waiting))
    assert [next(batches), next(batches)] == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        next(batches)
    assert dataset.asked == [1, 2, 99]


def test_whoever_stops_early_leaves_no_thread_behind():
    dataset = Slow(0.01)
    batches = iter(loader(dataset, Waiting()))
    next(batches)
    batches.close()
    time.sleep(0.05)
    assert dataset.asked == [0, 1]
