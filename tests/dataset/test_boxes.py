"""The boxes of a store: for our training, and the same voxels for any other training loop."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import frazil
from frazil.core.errors import RequestError, StoreError
from frazil.core.settings import CurateSettings
from frazil.dataset.boxes import BoxDataset, Subtomograms
from frazil.dataset.store import BoxStore


@pytest.fixture
def store(curated, source):
    source.absent = {("bb", 1, 1, 2)}
    return curated(source, CurateSettings(box_size_voxel=8, validation_runs=("bb",)))


def test_boxes_are_z_scored_over_all_voxels_as_the_paper(store):
    items = Subtomograms(store, "train", "padded")
    assert len(items) == 4
    for item in items:
        raw = torch.from_numpy(store.volume(item.box))
        assert item.volume.shape == (1, 8, 8, 8)
        assert item.volume.dtype == torch.float32
        torch.testing.assert_close(item.volume[0], (raw - raw.mean()) / (raw.std() + 1e-8))


def test_boxes_are_z_scored_over_the_measured_voxels(store):
    items = Subtomograms(store, "validation", "measured")
    padded = [item for item in items if not store.measured(item.box).all()]
    assert padded
    for item in padded:
        measured = torch.from_numpy(store.measured(item.box))
        assert (item.volume[0][~measured] == 0).all()
        assert item.volume[0][measured].mean().item() == pytest.approx(0, abs=1e-6)
        assert item.volume[0][measured].std().item() == pytest.approx(1, abs=1e-6)


def test_labels_positions_and_numbers_are_those_of_the_store(store):
    items = Subtomograms(store, "train", "padded")
    for item in items:
        row = store.particles.iloc[item.box]
        assert store.description.labels[item.label] == row["label"]
        np.testing.assert_allclose(item.position, row[["position_z", "position_y", "position_x"]].astype(float))
        assert row["split"] == "train"
    assert [item.box for item in items] == store.boxes("train").tolist()


def test_positions_times_extents_are_the_centres_in_voxels_of_the_box(store):
    items = Subtomograms(store, "train", "padded")
    for item in items:
        row = store.particles.iloc[item.box]
        centre = row[["centre_z_angstrom", "centre_y_angstrom", "centre_x_angstrom"]].to_numpy(dtype=float)
        np.testing.assert_allclose(
            item.position * item.extent_voxel, centre / store.description.voxel_size_angstrom, rtol=1e-5
        )


def test_classes_can_be_counted_among_others(store):
    names = ("something else", *reversed(store.description.labels))
    for item in Subtomograms(store, "train", "padded", classes=names):
        assert names[item.label] == store.particles.iloc[item.box]["label"]


@pytest.mark.parametrize("normalisation", ["padded", "measured"])
def test_in_memory_or_not_is_the_same(store, normalisation):
    kept = Subtomograms(store, "validation", normalisation)
    read = Subtomograms(store, "validation", normalisation, in_memory=False)
    for a, b in zip(kept, read, strict=True):
        assert torch.equal(a.volume, b.volume)
        assert (a.label, a.box) == (b.label, b.box)


def test_an_empty_split_is_empty(curated, make_source, settings):
    store = curated(make_source({("a", "ribosome"): [[9, 9, 9]]}), settings)
    assert len(Subtomograms(store, "validation", "padded")) == 0


def test_a_loader_takes_them_as_they_are(store):
    (batch,) = DataLoader(Subtomograms(store, "train", "padded"), batch_size=4)
    assert batch.volume.shape == (4, 1, 8, 8, 8)
    assert batch.label.dtype == torch.int64
    assert batch.position.shape == batch.extent_voxel.shape == (4, 3)
    assert batch.box.tolist() == store.boxes("train").tolist()


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
