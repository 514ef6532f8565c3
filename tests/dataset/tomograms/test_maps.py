"""Label maps: a segmentation is kept as it is, and a window shows it with the tomogram that it belongs to."""

import copick
import numpy as np
import pytest
import torch

from frazil.core.errors import MissingMapError, OutputError, SettingsError, SourceError
from frazil.core.settings import TrainingSettings
from frazil.dataset.run import curate
from frazil.dataset.tomograms.windows import Windows
from frazil.io.copick.project import write_segmentation
from frazil.volume.layout import Painter

DARK = -1.5
OPTIONS = {"whole": True, "box_size_voxel": 16}


@pytest.fixture
def project(make_project):
    """Two tomograms with a segmentation each, which marks what is dark."""
    made = make_project("copick", shape_voxel=(32, 40, 48))
    for run, volume in made.volumes.items():
        write_segmentation(
            made.path,
            run=run,
            volume=3 * (volume < DARK).astype(np.uint8),
            voxel_size_angstrom=10.0125,
            name="dark",
            user="me",
        )
    return made


def test_a_segmentation_comes_back_and_is_cut_and_turned_with_the_tomogram(project, tmp_path):
    store = curate(project.path, tmp_path / "store", maps=["dark"], **OPTIONS)
    assert store.description.maps == ("dark",)
    for run, volume in project.volumes.items():
        assert np.array_equal(store.array(run, "maps")[:], (volume < DARK)[None])
    for in_memory in (True, False):
        windows = Windows(
            store, "train", Painter(torch.zeros(2, 5, 5, 5), [3.0, 6.0], map_count=1), TrainingSettings(half_turns=True),
            edge_voxel=16, multiple=16, classes=store.description.labels, in_memory=in_memory,
        )  # fmt: skip
        turned = 0
        for row in range(len(windows)):
            cut, item = windows.cut(row, np.random.default_rng(row), varied=True), windows.drawn(row, epoch=0)
            turned += not np.array_equal(cut.maps, windows.cut(row, np.random.default_rng(row), varied=False).maps)
            center, spread = store.description.moments[cut.header.run]
            assert np.mean((cut.volume * spread + center < DARK) != cut.maps[0]) < 2e-3  # volumes have 16 bits
            assert np.mean((item.volume[0].numpy() * spread + center < DARK) != (item.layout[2].numpy() == 1)) < 0.01
        assert turned


def test_what_decides_the_digest(project, tmp_path, refuses):
    without = curate(project.path, tmp_path / "without", **OPTIONS)
    store = curate(project.path, tmp_path / "store", maps=["dark"], **OPTIONS)
    assert store.digest != without.digest
    with refuses(OutputError, "another request", "maps"):
        curate(project.path, tmp_path / "without", maps=["dark"], **OPTIONS)
    write_segmentation(
        project.path,
        run="TS_1",
        volume=np.zeros((32, 40, 48), dtype=np.uint8),
        voxel_size_angstrom=10.0125,
        name="dark",
        user="me",
    )
    assert curate(project.path, tmp_path / "other", maps=["dark"], **OPTIONS).digest != store.digest


def test_a_binary_segmentation_of_copick_is_read(project, tmp_path):
    root = copick.from_file(str(project.path / "copick.json"))
    for run, volume in project.volumes.items():
        options = {
            "voxel_size": 10.0125,
            "name": "ribosome",
            "session_id": "1",
            "user_id": "they",
            "is_multilabel": False,
        }
        root.get_run(run).new_segmentation(**options).from_numpy((volume > 0).astype(np.uint8))
    store = curate(project.path, tmp_path / "store", maps=["ribosome", "dark"], **OPTIONS)
    assert store.description.maps == ("dark", "ribosome")
    assert np.array_equal(store.array("TS_2", "maps")[1], project.volumes["TS_2"] > 0)


def test_what_cannot_be_kept_is_refused_and_nothing_is_written(project, make_project, tmp_path, refuses):
    out = tmp_path / "store"
    with refuses(MissingMapError, "TS_1 has no segmentation light", "there are: dark"):
        curate(project.path, out, maps=["light"], **OPTIONS)
    with refuses(SettingsError, "map dark", "--whole"):
        curate(project.path, out, maps=["dark"])
    with refuses(SettingsError, "map classes", "masks of particles"):
        curate(project.path, out, maps=["classes"], **OPTIONS)
    with refuses(MissingMapError, "no copick project", "dark"):
        curate(make_project("csv", name="mrc").path, out, maps=["dark"], **OPTIONS)
    for user, shape in (("you", (32, 40, 48)), ("me", (16, 20, 24))):
        write_segmentation(
            project.path,
            run="TS_2",
            volume=np.ones(shape, dtype=np.uint8),
            voxel_size_angstrom=10.0125,
            name="dark",
            user=user,
        )
        if user == "you":
            with refuses(SourceError, "segmentation dark of TS_2", "me (session 0), you (session 0)", "choose one"):
                curate(project.path, out, maps=["dark"], **OPTIONS)
    for path in project.path.glob("ExperimentRuns/TS_2/Segmentations/*you*"):
        path.rename(tmp_path / "away")
    with refuses(SourceError, "segmentation dark of TS_2 has 16x20x24", "32x40x48", "another level"):
        curate(project.path, out, maps=["dark"], **OPTIONS)
    for path in project.path.glob("ExperimentRuns/TS_2/Segmentations/*"):
        path.rename(tmp_path / "away too")
    with refuses(MissingMapError, "TS_2 has no segmentation dark", "there are: none"):
        curate(project.path, out, maps=["dark"], **OPTIONS)
    assert not out.exists()
