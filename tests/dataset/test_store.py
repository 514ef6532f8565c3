import json
from dataclasses import replace

import numpy as np
import pytest

from frazil.core.errors import StoreError
from frazil.dataset.store import BoxStore


@pytest.fixture
def store(curated, source, settings):
    return curated(source, settings)


def edit(store, **changes):
    file = store.path / "dataset.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | changes))


def refuses(store, *parts):
    with pytest.raises(StoreError) as raised:
        BoxStore.open(store.path)
    message = str(raised.value)
    assert "\n" not in message
    for part in (str(store.path), *parts):
        assert part in message


def test_tables_come_back_as_they_were_written(store):
    again = BoxStore.open(store.path)
    assert again.particles.equals(store.particles)
    assert again.neighbours.equals(store.neighbours)
    assert again.description == store.description
    assert again.digest.startswith("sha256:")
    assert again.particles["rotation_zz"].isna().all()


def test_names_that_look_like_missing_values_are_names(curated, make_source, settings):
    store = curated(make_source({("NA", "null"): [[9, 9, 9]], ("007", "1"): [[9, 9, 9]]}), settings)
    assert store.particles[["run", "label"]].to_numpy().tolist() == [["007", "1"], ["NA", "null"]]


def test_the_digest_is_of_the_data_and_not_of_the_place(curated, source, settings, tmp_path, store):
    source.path = tmp_path
    assert curated(source, settings, out=tmp_path / "other").digest == store.digest
    source.volumes["a"] = source.volumes["a"] * 1.001
    assert curated(source, settings, out=tmp_path / "third").digest != store.digest


def test_no_store(tmp_path):
    with pytest.raises(StoreError, match=r"not a finished box store \(dataset.json is missing\)"):
        BoxStore.open(tmp_path)


def test_another_kind_of_artefact(store):
    edit(store, kind="frazil training run")
    refuses(store, "frazil box store")


def test_a_newer_schema(store):
    edit(store, schema_version=99, something_new=1)
    refuses(store, "schema version 99", "upgrade frazil")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"box_size_voxel": "large"}, "box_size_voxel"),
        ({"labels": None}, "labels"),
        ({"misspelt": 1}, "misspelt"),
        ({"voxel_size_angstrom": 1.0}, "digest does not fit"),
        ({"schema_version": 1, "tomograms": None}, "damaged"),
    ],
)
def test_an_edited_description(store, changes, named):
    edit(store, **changes)
    refuses(store, "dataset.json", named, "--force")


@pytest.mark.parametrize(("user", "simulated"), [("curation", False), ("simulated", True), ("frazil", True)])
def test_a_store_of_0_1_is_completed_from_its_particles(curated, make_source, settings, user, simulated):
    places = {("a", "ribosome"): [[9, 9, 9], [0, 12, 20]], ("bb", "ribosome"): [[8, 8, 8]], ("c", "ribosome"): []}
    store = curated(make_source(places, users={("a", "ribosome"): user, ("bb", "ribosome"): "curation"}), settings)
    now = store.description.tomograms
    assert not store.description.simulated
    edit(store, schema_version=1, tomograms={run: now[run].origin for run in now})
    content = json.loads((store.path / "dataset.json").read_text())
    del content["simulated"]
    (store.path / "dataset.json").write_text(json.dumps(content))
    again = BoxStore.open(store.path).description
    assert again.simulated == simulated
    assert again.tomograms == {run: replace(now[run], simulated=simulated) for run in ("a", "bb")}
    assert again.digest == store.digest


def test_a_description_that_is_no_json(store):
    (store.path / "dataset.json").write_text("{")
    refuses(store, "not valid JSON")


@pytest.mark.parametrize("name", ["particles.csv", "neighbours.csv", "left_out.csv"])
def test_tables_that_are_edited_or_missing(store, name):
    file = store.path / name
    file.write_text(file.read_text() + "\n")
    refuses(store, name, "damaged or edited", "--force")
    file.unlink()
    refuses(store, name, "missing", "--force")


def test_boxes_that_are_missing(store):
    (store.path / "boxes.zarr/volume/3.0.0.0").unlink()
    refuses(store, "1 of 7 boxes are missing, the first is 3", "--force")


def test_masks_that_are_missing(store):
    padded = int(np.flatnonzero(store.particles["padding"] > 0)[0])
    (store.path / f"boxes.zarr/measured/{padded}.0.0.0").unlink()
    refuses(store, f"1 of 7 boxes are missing, the first is {padded}", "--force")


def test_arrays_that_are_missing_or_of_another_shape(store):
    zarray = store.path / "boxes.zarr/volume/.zarray"
    content = zarray.read_text()
    zarray.write_text(content.replace("7,\n", "9,\n"))
    refuses(store, "volume has the shape (9, 8, 8, 8), expected 7 boxes of 8^3")
    zarray.write_text("{}")
    refuses(store, "boxes.zarr", "damaged")
    zarray.unlink()
    refuses(store, "boxes.zarr", "missing or damaged")


def test_a_truncated_box(store):
    file = store.path / "boxes.zarr/volume/3.0.0.0"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"boxes.zarr/volume: a chunk cannot be read .*--force"):
        BoxStore.open(store.path).volume(3)


@pytest.mark.parametrize("value", [5.0, np.nan])
def test_a_box_with_one_foreign_voxel(store, value):
    file = store.path / "boxes.zarr/volume/3.0.0.0"
    voxels = np.fromfile(file, dtype="<f4")
    voxels[77] = value
    voxels.tofile(file)
    with pytest.raises(StoreError, match=r"box 3 is damaged, its mean is .*--force"):
        BoxStore.open(store.path).volume(3)


@pytest.mark.parametrize("box", [-1, 7])
def test_a_box_that_is_not_there(store, box):
    with pytest.raises(StoreError, match=f"no box {box}; there are 7, counted from 0"):
        store.volume(box)


def test_a_mask_that_is_damaged(store):
    (store.path / "boxes.zarr/measured/1.0.0.0").write_bytes(b"no blosc")
    with pytest.raises(StoreError, match=r"boxes.zarr/measured: a chunk cannot be read"):
        store.measured(1)
