"""What `frazil evaluate` is given is found and named as it is, and what does not fit is refused before any work."""

import json
import shutil

import numpy as np
import pytest

from frazil.core.errors import RequestError, SourceError, StoreError
from frazil.dataset.run import curate
from frazil.dataset.store import BoxStore
from frazil.evaluation.inputs.generated import Reading, open_generated, open_real
from frazil.evaluation.inputs.grid import Grid
from frazil.io.mrc import read_volume, write_volume
from frazil.sampling.run import sample


@pytest.fixture
def real(real_boxes):
    return open_real(real_boxes)


@pytest.fixture
def samples(make_bundle, tmp_path, real):
    bundle = make_bundle(training_data_digest=real.digest)
    sample(
        bundle,
        out=tmp_path / "samples",
        label="all",
        count=2,
        device="cpu",
        steps=1,
        copick=False,
    )
    return tmp_path / "samples"


def test_samples_of_frazil(samples, real):
    volumes = open_generated(samples, real, Reading())
    assert volumes.kind == "frazil samples"
    assert volumes.grid == Grid(10.0125, 8)
    assert volumes.names == ("apo-ferritin-00000", "apo-ferritin-00001", "ribosome-00002", "ribosome-00003")
    assert volumes.labels == ("apo-ferritin", "apo-ferritin", "ribosome", "ribosome")
    np.testing.assert_array_equal(volumes.read(2)[0], read_volume(samples / "volumes" / "ribosome-00002.mrc"))
    assert "trained on these training boxes" in volumes.note
    assert volumes.warnings == ()


def test_samples_that_are_not_all_there(samples, real, refuses):
    manifest = json.loads((samples / "manifest.json").read_text())
    (samples / "manifest.json").write_text(json.dumps(manifest | {"complete": False}))
    assert "only 4 of the requested samples" in open_generated(samples, real, Reading()).warnings[0]
    (samples / "volumes" / "ribosome-00003.mrc").unlink()
    with refuses(SourceError, str(samples), "1 of 4 samples", "ribosome-00003.mrc", "rerun frazil sample"):
        open_generated(samples, real, Reading())
    (samples / "manifest.json").write_text(json.dumps(manifest | {"samples": []}))
    with refuses(SourceError, "no samples yet", "rerun frazil sample"):
        open_generated(samples, real, Reading())
    (samples / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    with refuses(SourceError, "newer frazil", "upgrade"):
        open_generated(samples, real, Reading())


def test_a_folder_of_any_generator_also_with_a_manifest_of_its_own(make_volumes, real):
    folder = make_volumes()
    (folder / "manifest.json").write_text('{"generator": "another"}')
    volumes = open_generated(folder, real, Reading())
    assert (volumes.kind, len(volumes), volumes.grid.box_size_voxel) == ("folder of MRC files", 8, 8)
    assert volumes.grid.voxel_size_angstrom == pytest.approx(10.0125)


def test_classes_that_are_not_real_are_refused(make_volumes, real, refuses):
    with refuses(RequestError, "proteasome", "also have apo-ferritin", "labels.csv", "leave them out"):
        open_generated(make_volumes(labels=("proteasome", "ribosome")), real, Reading())


def test_numbered_classes(make_volumes, real, tmp_path, refuses):
    folder = make_volumes(name="numbered", labels=())
    for number in range(4):
        write_volume(
            tmp_path / "numbered" / f"sample_{number}_class_{number % 2}.mrc",
            np.eye(8)[..., None] * np.arange(8),
            10.0125,
        )
    with refuses(SourceError, "class_0.mrc", "labels apo-ferritin,ribosome"):
        open_generated(folder, real, Reading())
    volumes = open_generated(folder, real, Reading(labels={1: "ribosome", 0: "apo-ferritin"}))
    assert volumes.labels == ("apo-ferritin", "ribosome", "apo-ferritin", "ribosome")


def test_a_wrong_voxel_size_is_refused_and_can_be_mended(make_volumes, real, refuses):
    folder = make_volumes(voxel_size_angstrom=1.0)
    with refuses(SourceError, "1.0 A", "voxel size"):
        open_generated(folder, real, Reading())
    assert open_generated(folder, real, Reading(voxel_size_angstrom=10.0125)).grid == Grid(10.0125, 8)


def test_volumes_of_unlike_sizes_and_no_cubes_are_refused(make_volumes, real, refuses):
    folder = make_volumes()
    write_volume(folder / "ribosome-00009.mrc", np.zeros((16, 16, 16)), 10.0125)
    with refuses(SourceError, "ribosome-00009.mrc", "(16, 16, 16)", "(8, 8, 8)", "one size"):
        open_generated(folder, real, Reading())
    write_volume(folder / "ribosome-00009.mrc", np.zeros((8, 8, 4)), 10.0125)
    with refuses(SourceError, "ribosome-00009.mrc", "(8, 8, 4)", "not a cube"):
        open_generated(folder, real, Reading())


def test_unreadable_volumes_and_folders_are_refused(make_volumes, real, tmp_path, refuses):
    folder = make_volumes()
    (folder / "ribosome-00001.mrc").write_bytes(b"nothing")
    with refuses(SourceError, "ribosome-00001.mrc", "not an MRC file"):
        open_generated(folder, real, Reading())
    (tmp_path / "empty").mkdir()
    with refuses(SourceError, "no MRC files", "frazil sample"):
        open_generated(tmp_path / "empty", real, Reading())
    with refuses(SourceError, "no such folder"):
        open_generated(tmp_path / "absent", real, Reading())


def test_another_store_is_judged_whole_and_the_same_one_is_refused(make_box_store, real, refuses):
    other = make_box_store(name="other", seed=1)
    volumes = open_generated(other, real, Reading())
    assert (volumes.kind, len(volumes)) == ("box store", 16)
    assert volumes.names[0] == "TS_1 box 0"
    np.testing.assert_array_equal(volumes.read(3)[0], BoxStore.open(other).volume(3))
    with refuses(StoreError, str(real.path), "the real box store itself"):
        open_generated(real.path, real, Reading())


@pytest.mark.parametrize("voxel_size", [10.0125, 20.0])
def test_of_a_project_the_boxes_are_judged_that_curate_would_cut(make_project, tmp_path, real, voxel_size):
    project = make_project(seed=1, voxel_size_angstrom=voxel_size)
    resampled = {"voxel_size_angstrom": 10.0125} if voxel_size == 20 else {}
    store = curate(
        project.path, tmp_path / "store", preset="smoke", box_size_voxel=8, validation_runs=("TS_2",), **resampled
    )
    volumes = open_generated(project.path, real, Reading(resample=bool(resampled)))
    assert (volumes.grid, volumes.note) == (Grid(10.0125, 8), "boxes around the picks of 2 whole tomograms")
    assert volumes.labels == tuple(store.particles["label"])
    for row in range(len(volumes)):
        volume, measured = volumes.read(row)
        np.testing.assert_array_equal(volume, store.volume(row))
        np.testing.assert_array_equal(measured, store.measured(row))


def test_a_project_composed_anew_is_another(make_project, real):
    one, other = make_project(seed=1, name="one"), make_project(seed=2, name="other")
    for run in ("TS_1", "TS_2"):
        shutil.rmtree(other.path / "ExperimentRuns" / run / "Picks")
        shutil.copytree(one.path / "ExperimentRuns" / run / "Picks", other.path / "ExperimentRuns" / run / "Picks")
    assert open_generated(one.path, real, Reading()).digest != open_generated(other.path, real, Reading()).digest


def test_a_store_without_a_split_is_refused(make_box_store, refuses):
    with refuses(StoreError, "no held-out boxes", "validation fraction of 0.1"):
        open_real(make_box_store(split=False))


def test_a_limit_draws_from_each_class_by_the_seed(make_volumes, real, refuses):
    folder = make_volumes(count=6)
    three = open_generated(folder, real, Reading(limit=3))
    assert [three.labels.count(label) for label in ("apo-ferritin", "ribosome")] == [3, 3]
    assert three.names == open_generated(folder, real, Reading(limit=3)).names
    assert three.names != open_generated(folder, real, Reading(limit=3, seed=1)).names
    assert "6 of 12 drawn" in three.note
    np.testing.assert_array_equal(three.read(4)[0], read_volume(folder / three.files[4]))
    assert open_generated(folder, real, Reading(limit=6)).digest == open_generated(folder, real, Reading()).digest
    with refuses(RequestError, "limit 0", "at least 1"):
        open_generated(folder, real, Reading(limit=0))


def test_samples_that_were_changed_are_not_judged(samples, real, refuses):
    volume = next((samples / "volumes").iterdir())
    write_volume(volume, np.zeros((8, 8, 8)), 10.0125)
    with refuses(SourceError, volume.name, "changed since it was sampled", "rerun frazil sample"):
        open_generated(samples, real, Reading())


def test_names_that_lead_out_of_the_folder_are_refused(samples, real, refuses):
    path = samples / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("/etc/passwd", "../samples/x.mrc"):
        manifest["samples"][0]["file"] = name
        path.write_text(json.dumps(manifest))
        with refuses(SourceError, "manifest.json", name, "not inside"):
            open_generated(samples, real, Reading())
