"""Boxes for any training loop: the same voxels as training takes, in any worker."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import frazil
from frazil.core.errors import RequestError, StoreError
from frazil.dataset.boxes import BoxDataset
from frazil.dataset.store import BoxStore
from frazil.dataset.subtomograms import Subtomograms


@pytest.mark.parametrize("normalisation", ["measured", "padded"])
def test_boxes_are_those_of_the_training_with_their_mask(real_boxes, normalisation):
    store = BoxStore.open(real_boxes)
    boxes, training = (
        BoxDataset(str(real_boxes), normalisation=normalisation),
        Subtomograms(store, "train", normalisation),
    )
    assert len(boxes) == len(training) > 0
    for box, item in zip((boxes[row] for row in range(len(boxes))), training, strict=True):
        assert torch.equal(box["volume"], item.volume)
        assert torch.equal(box["position"], item.position)
        assert (box["label"], box["index"]) == (item.label, item.box)
        np.testing.assert_array_equal(box["measured"][0], store.measured(box["index"]))


def test_splits_and_classes_can_be_chosen(real_boxes):
    whole, train, held_out = (BoxDataset(real_boxes, split=split) for split in ("all", "train", "validation"))
    assert sorted([*train.indices, *held_out.indices]) == list(whole.indices)
    ribosomes = BoxDataset(real_boxes, split="all", labels=["ribosome"])
    assert ribosomes.labels == ("ribosome",)
    assert {ribosomes[row]["label"] for row in range(len(ribosomes))} == {0}
    assert "ribosome" in repr(ribosomes)
    with pytest.raises(RequestError, match=r"'proteasome'.*apo-ferritin, ribosome"):
        BoxDataset(real_boxes, labels=["proteasome"])


def test_workers_of_a_loader_read_each_box_once(real_boxes):
    boxes = frazil.BoxDataset(real_boxes, split="all")
    seen = [batch["index"] for batch in DataLoader(boxes, batch_size=3, num_workers=2)]
    assert torch.cat(seen).tolist() == list(range(len(boxes)))


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"dataset\.json"):
        BoxDataset(tmp_path)
