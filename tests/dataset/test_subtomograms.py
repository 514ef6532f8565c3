import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from frazil.core.settings import CurateSettings
from frazil.dataset.subtomograms import Subtomograms


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
