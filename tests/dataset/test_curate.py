import errno
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from frazil.core.errors import OutputError, PickError, StoreError
from frazil.core.records import Moments
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset import curate as curate_module
from frazil.dataset.curate import find_finished
from frazil.dataset.plan import make_plan
from frazil.dataset.store import BoxStore
from frazil.dataset.writer import StoreWriter
from frazil.volume.intensity import moments


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class Killed(BaseException):
    """As a kill, nothing catches it."""


def kill_at(monkeypatch, function, number, *, where=StoreWriter):
    """Make the call number `number` of a function die."""
    original, calls = getattr(where, function), []

    def dying(*arguments, **options):
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(where, function, dying)


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
        (None, 1.0, r"\(7 no voxel on disk\); copy the tomogram again, or check --level"),
        (None, 0.0, r"\(7 too much padding\); pass a larger --max-padding or a smaller --box"),
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
    ("function", "number"),
    [
        ("write_box", 5),  # in the second run, some of its boxes are written
        ("finish_run", 2),  # its boxes are written, it is not recorded
        ("write_tables", 1),
        ("finish", 1),
        ("_move", 1),
        ("tidy", 1),  # in place already, but for what only the writing needed
    ],
)
def test_killed_and_continued_is_the_same_as_never_stopped(
    monkeypatch, curated, source, settings, tmp_path, function, number
):
    whole = curated(source, settings, out=tmp_path / "whole")
    source.reads.clear()
    with monkeypatch.context() as patch:
        kill_at(patch, function, number)
        with pytest.raises(Killed):
            curated(source, settings)
    recorded = source.reads.index("bb") if function in ("write_box", "finish_run") else 3
    source.reads.clear()
    plan = make_plan(source, SourceSettings(), settings)
    store = find_finished(tmp_path / "store", plan) or curated(source, settings)
    assert source.reads == ["a", "bb", "ccc"][recorded:]
    assert contents(store.path) == contents(whole.path)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "store"}


def test_half_a_file_of_a_killed_write_is_removed(monkeypatch, curated, source, settings, tmp_path):
    with monkeypatch.context() as patch:
        kill_at(patch, "finish_run", 2)
        with pytest.raises(Killed):
            curated(source, settings)
    (tmp_path / "store.partial/boxes.zarr/volume/5.0.0.0.1234.partial").write_bytes(b"half")
    store = curated(source, settings)
    assert not list(store.path.rglob("*.partial"))


def test_the_old_store_stays_until_the_new_one_is_whole(monkeypatch, curated, source, settings):
    old = curated(source, settings)
    with monkeypatch.context() as patch:
        kill_at(patch, "finish_run", 3)
        with pytest.raises(Killed):
            curated(source, CurateSettings(box_size_voxel=16), force=True)
    assert BoxStore.open(old.path).description.box_size_voxel == 8
    source.reads.clear()
    assert curated(source, CurateSettings(box_size_voxel=16), force=True).description.box_size_voxel == 16
    assert source.reads == ["ccc"]


def test_a_finished_store_is_found_by_its_plan(curated, source, settings, tmp_path):
    store = curated(source, settings)
    assert find_finished(store.path, make_plan(source, SourceSettings(), settings)).digest == store.digest
    other = CurateSettings(box_size_voxel=8, seed=1)
    assert find_finished(store.path, make_plan(source, SourceSettings(), other)) is None
    assert find_finished(tmp_path / "nothing", make_plan(source, SourceSettings(), settings)) is None


def test_other_settings_want_force(curated, source, settings):
    curated(source, settings)
    other = CurateSettings(box_size_voxel=8, max_padding=0.5)
    with pytest.raises(StoreError, match="store: curated with other settings or picks; pass --force"):
        curated(source, other)
    assert curated(source, other, force=True).description.curate.max_padding == 0.5


def test_other_settings_over_an_unfinished_store_want_force(monkeypatch, curated, source, settings):
    with monkeypatch.context() as patch:
        kill_at(patch, "finish_run", 2)
        with pytest.raises(Killed):
            curated(source, settings)
    other = CurateSettings(box_size_voxel=16)
    with pytest.raises(StoreError, match=r"store.partial: begun with other settings or picks; pass --force"):
        curated(source, other)
    source.reads.clear()
    assert curated(source, other, force=True).description.box_size_voxel == 16
    assert source.reads == ["a", "bb", "ccc"]


@pytest.mark.parametrize("damage", [None, "{", "[]"])
def test_what_was_begun_without_a_finished_run_is_nothing_to_keep(
    monkeypatch, curated, source, settings, tmp_path, damage
):
    with monkeypatch.context() as patch:
        kill_at(patch, "finish_run", 1)
        with pytest.raises(Killed):
            curated(source, settings)
    if damage:
        (tmp_path / "store.partial/plan.json").write_text(damage)
    assert curated(source, CurateSettings(box_size_voxel=16)).description.box_size_voxel == 16


def test_a_damaged_record_of_a_run_is_said(monkeypatch, curated, source, settings, tmp_path):
    with monkeypatch.context() as patch:
        kill_at(patch, "finish_run", 2)
        with pytest.raises(Killed):
            curated(source, settings)
    for content in ("[]", "{}"):
        (tmp_path / "store.partial/runs/00000.json").write_text(content)
        with pytest.raises(StoreError, match=r"00000.json: damaged, .*; "):
            curated(source, settings)


def test_the_split_may_change_without_cutting_again(monkeypatch, curated, source):
    with pytest.raises(StoreError, match="names all runs"):
        curated(source, CurateSettings(box_size_voxel=8, validation_runs=("a", "bb", "ccc")))
    source.reads.clear()
    store = curated(source, CurateSettings(box_size_voxel=8, validation_runs=("a",)))
    assert source.reads == []
    assert store.boxes("validation").tolist() == [0, 1, 2]


def test_what_is_no_store_is_never_replaced(curated, source, settings, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="holds something that is no box store; choose another --out"):
        curated(source, settings, force=True)
    assert (tmp_path / "store/thesis.tex").exists()
    with pytest.raises(OutputError, match="no box store"):
        curated(source, settings, out=tmp_path / "store/thesis.tex", force=True)


def test_a_folder_that_only_is_called_like_an_unfinished_store_stays(curated, source, settings, tmp_path):
    (tmp_path / "store.partial").mkdir()
    (tmp_path / "store.partial/thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"store.partial: holds something .*; move it away, or choose another --out"):
        curated(source, settings, force=True)
    assert (tmp_path / "store.partial/thesis.tex").exists()


def test_an_empty_folder_is_taken(curated, source, settings, tmp_path):
    (tmp_path / "store").mkdir()
    assert len(curated(source, settings)) == 7


def test_a_full_disk_loses_nothing(monkeypatch, curated, source, settings, tmp_path):
    def full(self, box, volume, measured):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        original = StoreWriter.write_box
        patch.setattr(
            StoreWriter, "write_box", lambda self, box, *rest: (full if box == 5 else original)(self, box, *rest)
        )
        with pytest.raises(OutputError, match=r"the disk is full; free some space .* to continue"):
            curated(source, settings)
    source.reads.clear()
    assert len(curated(source, settings)) == 7
    assert source.reads == ["bb", "ccc"]


def test_a_folder_without_permission(monkeypatch, curated, source, settings):
    def forbidden(self, *arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(OutputError, match="permission denied; choose a folder that you may write to"):
        curated(source, settings)
    assert source.reads == []


def test_a_folder_that_cannot_be_made(curated, source, settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        curated(source, settings, out=tmp_path / "file" / "store")
    assert source.reads == []


def test_a_name_that_is_too_long(curated, source, settings, tmp_path):
    with pytest.raises(OutputError, match="the name is too long; choose a shorter one"):
        curated(source, settings, out=tmp_path / ("x" * 300))
    assert source.reads == []


def test_a_tomogram_that_fails_is_not_blamed_on_the_store(curated, source, settings):
    def fail(run):
        raise OSError(errno.EIO, "Input/output error")

    source.read = fail
    with pytest.raises(OSError, match="Input/output error"):
        curated(source, settings)


def test_progress_counts_every_pick_once(monkeypatch, curated, source, settings):
    seen = []
    monkeypatch.setattr(curate_module, "BATCH_BYTES", 1)
    curated(source, settings, on_progress=lambda run, picks: seen.append((run, picks)))
    assert sum(picks for _, picks in seen) == 7
    assert [run for run, picks in seen if picks == 0] == ["a", "bb", "ccc"]


def test_batches_do_not_matter(monkeypatch, curated, source, settings, tmp_path):
    first = curated(source, settings)
    monkeypatch.setattr(curate_module, "BATCH_BYTES", 1)
    assert contents(curated(source, settings, out=tmp_path / "other").path) == contents(first.path)


def test_moments_of_a_store_are_named_by_the_normalisation(curated, source, settings):
    store = curated(source, settings)
    row = store.particles.iloc[1]
    assert store.moments(1, "measured") == Moments(row["mean_measured"], row["std_measured"])
    assert store.moments(1, "padded") != store.moments(1, "measured")
