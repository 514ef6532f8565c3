"""Windows on the fly: every particle of the layout is in the targets and the masks."""

import numpy as np
import torch
from torch.utils.data import DataLoader

import frazil
from frazil.core.errors import RequestError


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
