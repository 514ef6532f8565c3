"""Samples on the fly: those of the generator, each once, whatever loads them."""

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

import frazil
from frazil.core.errors import RequestError
from frazil.sampling.stream import SampleStream


def test_a_stream_gives_the_samples_of_the_generator(make_bundle):
    bundle = make_bundle()
    stream = SampleStream(bundle, label="ribosome", count=5, seed=3, batch_size=2, device="cpu")
    whole = frazil.load(bundle, device="cpu").sample(label="ribosome", count=5, seed=3)
    boxes = list(stream)
    assert torch.equal(torch.cat([box["volume"] for box in boxes]), torch.from_numpy(whole.volumes))
    assert [box["index"] for box in boxes] == whole.indices
    assert all(box["measured"].all() for box in boxes)
    assert repr(stream).endswith("ribosome; 5 samples, seed 3)")


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_share_the_samples_without_repeats(make_bundle, workers):
    stream = SampleStream(make_bundle(), count=7, batch_size=2, device="cpu", steps=1)
    loader = DataLoader(stream, batch_size=4, num_workers=workers)
    boxes = [
        (int(index), int(label))
        for batch in loader
        for index, label in zip(batch["index"], batch["label"], strict=True)
    ]
    assert sorted(boxes) == [(index, index % 2) for index in range(7)]  # classes take turns


def test_without_a_count_it_does_not_end_and_places_can_be_drawn(make_bundle):
    stream = SampleStream(make_bundle(), position=None, device="cpu", steps=1, batch_size=2)
    first, again = (torch.stack([box["position"] for box in islice(stream, 9)]) for _ in range(2))
    assert torch.equal(first, again)
    assert 0 <= first.min() < first.max() <= 1
    assert len(set(first[:, 0].tolist())) == 9


def test_an_unknown_class_is_refused_at_once(make_bundle):
    with pytest.raises(RequestError, match="'proteasome'"):
        SampleStream(make_bundle(), label="proteasome", device="cpu")
