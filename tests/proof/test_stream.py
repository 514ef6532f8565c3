"""Windows on the fly: every particle of the layout is in the targets and the masks."""

import numpy as np
import torch
from torch.utils.data import DataLoader

import frazil
from frazil.core.errors import RequestError
from frazil.volume.crop import crop


def test_every_particle_is_labeled(make_layout_bundle):
    bundle = make_layout_bundle()
    stream = frazil.WindowStream(bundle, count=4, seed=3, device="cpu")
    windows = list(stream)
    assert len(windows) == 4
    for index, window in enumerate(windows):
        classes, instances = window["classes"].numpy(), window["instances"].numpy()
        middle = tuple(edge // 2 for edge in classes.shape)
        assert classes[middle] == 1 + index % 2  # classes take turns
        assert instances[middle] == 1
        assert set(np.unique(instances)) > {0}
        assert window["volume"].shape == (1, *classes.shape)


def test_workers_share_the_windows(make_layout_bundle):
    stream = frazil.WindowStream(make_layout_bundle(), count=5, seed=1, device="cpu", batch_size=1)
    alone = torch.stack([window["volume"] for window in stream])
    shared = torch.cat([batch["volume"] for batch in DataLoader(stream, batch_size=1, num_workers=2)])
    assert sorted(shared.flatten(1).sum(1).tolist()) == sorted(alone.flatten(1).sum(1).tolist())


def test_boxes_are_refused(make_bundle, refuses):
    with refuses(RequestError, "takes no layouts", "SampleStream"):
        frazil.WindowStream(make_bundle(), device="cpu")


def test_windows_of_a_store_hold_its_particles_where_they_are(make_project, tmp_path):
    project = make_project(runs=("TS_1", "TS_2"), shape_voxel=(40, 48, 56), picks_per_label=6)
    store = frazil.curate(project.path, tmp_path / "store", whole=True, validation_runs=["TS_2"])
    windows = frazil.WindowDataset(tmp_path / "store", edge_voxel=32, seed=5)
    assert len(windows) == 16  # a third more than particles
    whole = store.array("TS_1")[:].astype(np.float32)
    layout = store.layout("TS_1")
    plain = frazil.WindowDataset(store, edge_voxel=32, half_turns=False)
    for index in range(len(plain)):
        window = plain[index]
        volume = window["volume"][0].numpy()
        places = np.argwhere(whole == volume[0, 0, 0])
        (start,) = (at for at in places if np.array_equal(crop(whole, at, (32, 32, 32)), volume))
        inside = np.rint(layout.center_voxel).astype(int) - start
        for label, at in zip(layout.label, inside, strict=True):
            if ((at >= 0) & (at < 32)).all():
                assert window["instances"][tuple(at)] > 0
                assert window["classes"][tuple(at)] == label + 1
    first = windows[0]["volume"]
    assert torch.equal(windows[0]["volume"], first)
    windows.epoch = 1
    assert not torch.equal(windows[0]["volume"], first)
    batches = DataLoader(windows, batch_size=8, num_workers=2)
    assert {batch["classes"].shape for batch in batches} == {(8, 32, 32, 32)}
    assert len(frazil.WindowDataset(store, "validation", edge_voxel=32)) > 0
