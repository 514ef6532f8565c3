import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from frazil.core.errors import OutputError, PickError, StoreError
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset import curate as curate_module
from frazil.dataset import runs as runs_module
from frazil.dataset.curate import curate_boxes, find_finished
from frazil.dataset.plan import make_plan
from frazil.dataset.run import curate
from frazil.io.sources import open_source
from frazil.volume.intensity import moments


def contents(folder):
    files = [
        file
        for file in folder.rglob("*")
        if file.is_file() and not {".lock", ".turn", ".written", "frazil.log"} & {*file.parts}
    ]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


class Killed(BaseException):
    """As a kill, nothing catches it."""


def kill_at(monkeypatch, where, function, number):
    """Make the call number `number` of a function die."""
    original, calls = getattr(where, function), []

    def dying(*arguments, **options):
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(where, function, dying)


@pytest.fixture
def killed(monkeypatch, curated, source):
    """Return a function: curate `source`, and die at that call."""

    def killed(settings, where, function, number):
        with monkeypatch.context() as patch:
            kill_at(patch, where, function, number)
            with pytest.raises(Killed):
                curated(source, settings)
        source.reads.clear()

    return killed


IN_THE_SECOND_RUN = (runs_module, "_write_box", 5)


def test_boxes_tables_and_description_agree_with_the_source(curated, source, settings):
    source.absent = {("bb", 1, 1, 2)}
    source.tilts = dict.fromkeys(source.volumes, (-45.0, 45.0))
    source.radii = {"ribosome": 155.0}
    store = curated(source, settings)
    assert len(store) == 7
    assert store.particles["box"].tolist() == list(range(7))
    assert store.particles["run"].tolist() == ["a", "a", "a", "bb", "bb", "bb", "ccc"]
    for row in store.particles.itertuples():
        center = np.array([row.centre_z_voxel, row.centre_y_voxel, row.centre_x_voxel])
        padded = np.pad(source.volumes[row.run], 8)
        there = np.pad(np.ones(source.volumes[row.run].shape, dtype=bool), 8)
        if row.run == "bb":
            there[16:24, 16:24, 24:32] = False
        place = tuple(slice(c + 4, c + 12) for c in np.rint(center).astype(int))
        expected = np.where(there[place], padded[place], 0)
        np.testing.assert_array_equal(store.volume(row.box), expected)
        np.testing.assert_array_equal(store.measured(row.box), there[place])
        assert row.padding == 1 - there[place].mean()
        assert store.moments(row.box, "padded") == moments(expected)
        assert store.moments(row.box, "measured") == pytest.approx(moments(expected, there[place]))
        assert np.array([row.position_z, row.position_y, row.position_x]) == pytest.approx(center / (24, 30, 36))
        assert row.centre_x_angstrom == pytest.approx(10 * row.centre_x_voxel)
    assert store.particles["padding"].gt(0).tolist() == [False, True, False, False, True, False, False]
    described = store.description
    assert described.labels == ("apo-ferritin", "ribosome")
    assert (described.voxel_size_angstrom, described.box_size_voxel, described.box_count) == (10, 8, 7)
    assert described.tilt_range_degrees == (-45, 45)
    assert [(count.label, count.used, count.diameter_angstrom) for count in described.counts] == [
        ("apo-ferritin", 2, 120),
        ("ribosome", 5, 310),
    ]
    assert set(store.boxes("train")) | set(store.boxes("validation")) == set(range(7))
    assert set(store.neighbours["box"]) == {0, 2, 3, 4}


def test_one_raw_chunk_a_box_and_none_where_all_was_measured(curated, source, settings):
    store = curated(source, settings)
    group = zarr.open_group(str(store.path / "boxes.zarr"), mode="r")
    assert group["volume"].chunks == (1, 8, 8, 8)
    assert group["volume"].dtype == "<f4"
    raw = np.fromfile(store.path / "boxes.zarr/volume/2.0.0.0", dtype="<f4").reshape(8, 8, 8)
    np.testing.assert_array_equal(raw, source.volumes["a"][8:16, 6:14, 6:14])
    assert [file.name for file in (store.path / "boxes.zarr/measured").iterdir() if file.name[0] != "."] == ["1.0.0.0"]


def test_orientations_are_kept(curated, make_source, settings):
    turns = np.linalg.qr(np.random.default_rng(0).standard_normal((2, 3, 3)))[0]
    source = make_source({("a", "ribosome"): [[9, 9, 9], [9, 20, 9]]}, rotations={("a", "ribosome"): turns})
    store = curated(source, settings)
    found = store.particles[[f"rotation_{row}{column}" for row in "zyx" for column in "zyx"]].to_numpy()
    np.testing.assert_array_equal(found.reshape(-1, 3, 3), turns)


def test_resampled_boxes(curated, make_source):
    source = make_source({("a", "ribosome"): [[10.5, 12, 12]]}, voxel_sizes={"a": 5.0})
    store = curated(source, CurateSettings(box_size_voxel=8, voxel_size_angstrom=10))
    assert store.description.voxel_size_angstrom == 10
    assert store.volume(0).shape == (8, 8, 8)
    row = store.particles.iloc[0]
    assert row["centre_z_voxel"] == 10.5
    assert row["box_centre_z_voxel"] == 5.25
    assert store.moments(0, "padded").std < 0.7  # half the resolution of white noise


def test_what_is_left_out_is_counted_and_listed(curated, make_source):
    source = make_source(
        {
            ("a", "ribosome"): [
                [12, 12, 12],
                [12.1, 12, 12],
                [12, 20, 20],
                [4, 4, 30],
                [4, 4, 4],
                [12, 26, 12],
                [99, 0, 0],
            ],
            ("gone", "ribosome"): [[1, 1, 1]],
        },
        absent={("a", 0, 0, 0)},
    )
    del source.volumes["gone"]
    volume = source.volumes["a"]
    volume[8:16, 16:24, 16:24] = 7
    volume[4, 4, 30] = np.nan
    store = curated(source, CurateSettings(box_size_voxel=8, drop_outside=True, max_padding=0.2))
    (count,) = store.description.counts
    assert (count.found, count.used) == (8, 2)
    assert count.left_out == {
        "no tomogram": 1,
        "outside the tomogram": 1,
        "duplicate": 1,
        "no voxel on disk": 1,
        "constant grey value": 1,
        "NaN or infinite voxels": 1,
    }
    left_out = pd.read_csv(store.path / "left_out.csv")
    assert len(left_out) == 6
    assert left_out.loc[left_out["reason"] == "NaN or infinite voxels", "centre_x_angstrom"].tolist() == [300]


@pytest.mark.parametrize(
    ("grey", "max_padding", "message"),
    [
        (3, 1.0, r"\(7 constant grey value\); .* check that it was written whole"),
        (np.nan, 1.0, r"\(7 NaN or infinite voxels\); write the tomogram again without NaN"),
        (None, 1.0, r"\(7 no voxel on disk\); copy the tomogram again, or check the level"),
        (None, 0.0, r"\(7 too much padding\); allow more max padding, or take smaller boxes"),
    ],
)
def test_nothing_gave_a_box(curated, source, tmp_path, grey, max_padding, message):
    settings = CurateSettings(box_size_voxel=8, max_padding=max_padding)
    if grey is not None:
        source.volumes = {run: np.full((24, 30, 36), grey, dtype=np.float32) for run in source.volumes}
    elif max_padding:
        source.absent = {(run, *place) for run in source.volumes for place in np.ndindex(3, 4, 5)}
    else:
        settings = settings.model_copy(update={"box_size_voxel": 40})
    with pytest.raises(PickError, match="no pick gave a box " + message):
        curated(source, settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "function", "number", "cut"),
    [
        (*IN_THE_SECOND_RUN, 1),  # some of its boxes are written
        (runs_module, "write_json", 2, 1),  # all are, but not what became of the picks
        (curate_module, "collect_boxes", 1, 3),
        (Path, "hardlink_to", 5, 3),  # some boxes are in their place, some are not
        (curate_module, "_write_tables", 1, 3),
        (curate_module, "StoreDescription", 1, 3),
        (curate_module, "remove_own", 1, 3),  # whole, but for what only the work needed
    ],
)
def test_killed_and_resumed_is_the_same_as_never_stopped(
    killed, curated, source, settings, tmp_path, where, function, number, cut
):
    whole = curated(source, settings, out=tmp_path / "whole")
    source.reads.clear()
    killed(settings, where, function, number)
    plan = make_plan(source, SourceSettings(), settings)
    store = find_finished(tmp_path / "store", plan) or curated(source, settings)
    assert source.reads == ["a", "bb", "ccc"][cut:]
    assert contents(store.path) == contents(whole.path)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "store"}


def test_ranges_of_runs_share_the_work(make_project, run, tmp_path):
    project = make_project("copick", runs=("TS_1", "TS_2", "TS_3")).path
    command = ["curate", str(project), "--out", str(tmp_path / "store"), "--preset", "smoke", "--box", "8"]
    jobs = [
        subprocess.Popen([sys.executable, "-m", "frazil", *command, "--first", str(first), "--count", "2"])
        for first in (0, 2)
    ]
    assert [job.wait(60) for job in jobs] == [0, 0]
    assert not (tmp_path / "store" / "dataset.json").exists()
    code, _, error = run(*command, "--first", 3)
    assert code == 2
    assert "first 3: there are picks to cut in 3 runs" in error
    assert run(*command)[0] == 0
    whole = curate(project, tmp_path / "whole", preset="smoke", box_size_voxel=8)
    assert contents(tmp_path / "store") == contents(whole.path)


@pytest.mark.parametrize("form", ["copick", "csv"])
def test_several_workers_write_the_same_bytes(make_project, tmp_path, form):
    # a box that is left out moves the numbers of the runs behind
    project = make_project(form, runs=("TS_1", "TS_2", "TS_3"))
    settings = CurateSettings(box_size_voxel=8, max_padding=0.1)
    source = open_source(project.path, SourceSettings())
    plan = make_plan(source, SourceSettings(), settings)
    seen = []
    one = curate_boxes(source, plan, tmp_path / "one")
    two = curate_boxes(source, plan, tmp_path / "two", workers=2, on_progress=seen.append)
    assert contents(one.path) == contents(two.path)
    assert one.particles.groupby("run").size().lt(8).any()
    assert seen == [0, 8, 8, 8]


def test_a_finished_store_is_found_by_its_plan(curated, source, settings, tmp_path):
    store = curated(source, settings)
    assert find_finished(store.path, make_plan(source, SourceSettings(), settings)).digest == store.digest
    other = CurateSettings(box_size_voxel=8, seed=1)
    assert find_finished(store.path, make_plan(source, SourceSettings(), other)) is None
    assert find_finished(tmp_path / "nothing", make_plan(source, SourceSettings(), settings)) is None


@pytest.mark.parametrize("of_0_1", [False, True])
def test_other_settings_or_picks_want_force(curated, source, settings, refuses, of_0_1):
    store = curated(source, settings)
    if of_0_1:
        (store.path / "curation.json").unlink()
    other = CurateSettings(box_size_voxel=8, max_padding=0.5, seed=1)
    with refuses(OutputError, "store", "curate.max_padding 1 -> 0.5", "curate.seed 0 -> 1", "--force"):
        curated(source, other)
    source.all_picks.pop()
    with refuses(OutputError, "other picks or tomograms", "--force"):
        curated(source, settings)
    assert curated(source, other, force=True).description.curate == other


def test_force_replaces_a_damaged_store_of_0_1(curated, source, settings):
    store = curated(source, settings)
    (store.path / "curation.json").unlink()
    (store.path / "dataset.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        curated(source, settings)
    assert len(curated(source, settings, force=True)) == 7


def test_other_settings_over_an_unfinished_store_want_force(killed, curated, source, settings, refuses):
    killed(settings, *IN_THE_SECOND_RUN)
    other = CurateSettings(box_size_voxel=16)
    with refuses(OutputError, "curate.box_size_voxel 8 -> 16", "--force"):
        curated(source, other)
    assert curated(source, other, force=True).description.box_size_voxel == 16
    assert source.reads == ["a", "bb", "ccc"]


def test_what_was_begun_without_a_finished_run_is_nothing_to_keep(killed, curated, source, settings):
    killed(settings, runs_module, "_write_box", 1)
    assert curated(source, CurateSettings(box_size_voxel=16)).description.box_size_voxel == 16


@pytest.mark.parametrize("content", ["[]", "{}", '{"particles": []}'])
def test_a_damaged_record_of_a_run_is_named(killed, curated, source, settings, tmp_path, content):
    killed(settings, *IN_THE_SECOND_RUN)
    (tmp_path / "store/.runs/00000/cut.json").write_text(content)
    with pytest.raises(StoreError, match=r"00000/cut.json: damaged"):
        curated(source, settings)


def test_the_split_may_change_without_cutting_again(curated, source):
    with pytest.raises(StoreError, match="validation runs are all runs"):
        curated(source, CurateSettings(box_size_voxel=8, validation_runs=("a", "bb", "ccc")))
    source.reads.clear()
    store = curated(source, CurateSettings(box_size_voxel=8, validation_runs=("a",)))
    assert source.reads == []
    assert store.boxes("validation").tolist() == [0, 1, 2]
    assert json.loads((store.path / "curation.json").read_text())["curate"]["validation_runs"] == ["a"]


def test_what_frazil_did_not_write_is_never_replaced(curated, source, settings, tmp_path, refuses):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/particles.csv").write_text("years of work")
    with refuses(OutputError, "particles.csv", "did not write it"):
        curated(source, settings, force=True)
    with refuses(OutputError, "particles.csv", "choose"):
        curated(source, settings, out=tmp_path / "store/particles.csv", force=True)
    assert (tmp_path / "store/particles.csv").read_text() == "years of work"


def test_a_full_disk_loses_nothing(monkeypatch, curated, source, settings):
    original = runs_module._write_box

    def write_box(arrays, number, box):
        if source.reads[-1] == "bb" and number == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(arrays, number, box)

    with monkeypatch.context() as patch:
        patch.setattr(runs_module, "_write_box", write_box)
        with pytest.raises(OutputError, match="the disk is full"):
            curated(source, settings)
    source.reads.clear()
    assert len(curated(source, settings)) == 7
    assert source.reads == ["bb", "ccc"]


@pytest.mark.parametrize("name", ["file/store", "x" * 300])
def test_a_folder_that_cannot_be_made(curated, source, settings, tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose"):
        curated(source, settings, out=tmp_path / name)
    assert source.reads == []


def test_batches_do_not_matter(monkeypatch, curated, source, settings, tmp_path):
    first = curated(source, settings)
    monkeypatch.setattr(runs_module, "BATCH_BYTES", 1)
    assert contents(curated(source, settings, out=tmp_path / "other").path) == contents(first.path)
