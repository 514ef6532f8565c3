import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import StoreError
from frazil.core.settings import CurateSettings
from frazil.dataset.split import count_overlapping, split_boxes
from frazil.dataset.tables import BOX_CENTER


def table(runs, centers=None):
    boxes = pd.DataFrame({"run": runs})
    boxes[BOX_CENTER] = np.zeros((len(runs), 3)) if centers is None else np.asarray(centers, dtype=float)
    return boxes


def split(boxes, **settings):
    return split_boxes(boxes, CurateSettings(**{"box_size_voxel": 8} | settings))


def test_named_runs_validate():
    found = split(table(["a", "b", "a", "c"]), validation_runs=("a",))
    assert found.names == ["validation", "train", "validation", "train"]
    assert found.validation_runs == ("a",)
    assert found.overlapping == 0


@given(runs=st.lists(st.sampled_from("abcdefghij"), min_size=2), seed=st.integers(0, 20))
def test_no_run_is_in_two_splits_and_both_have_one(runs, seed):
    found = split(table(runs), seed=seed, validation_fraction=0.3)
    names = pd.Series(found.names).groupby(pd.Series(runs)).nunique()
    assert (names == 1).all()
    if len(set(runs)) > 1:
        assert set(found.names) == {"train", "validation"}
        assert len(found.validation_runs) == max(1, round(0.3 * len(set(runs))))
    else:
        assert set(found.names) == {"train"}


def test_the_draw_is_of_the_seed_alone():
    boxes = table([f"run{number}" for number in range(20)])
    draws = {split(boxes, seed=seed).validation_runs for seed in range(10)}
    assert len(draws) > 5
    assert split(boxes, seed=4) == split(boxes, seed=4)


def test_a_fraction_of_zero_validates_nothing():
    for by in ("tomogram", "particle"):
        assert split(table(["a", "b"]), validation_fraction=0, split_by=by).names == ["train", "train"]


def test_by_particle_takes_the_share_of_boxes():
    found = split(table(["a"] * 1269), split_by="particle")
    assert found.names.count("validation") == 127
    assert found.validation_runs == ()


def test_a_validation_run_without_boxes():
    with pytest.raises(StoreError, match="validation run b has no boxes; name one of those that have: a, c"):
        split(table(["a", "c"]), validation_runs=("b",))


def test_nothing_left_to_train_on():
    with pytest.raises(StoreError, match=r"are all runs that have boxes \(a, c\).*name fewer"):
        split(table(["a", "c"]), validation_runs=("a", "c"))


def test_boxes_that_touch_do_not_overlap():
    boxes = table(["a", "a", "b"], [[0, 0, 0], [8, 0, 0], [1, 0, 0]])
    assert count_overlapping(boxes, np.array([True, False, False]), 8) == 0
    boxes.loc[1, BOX_CENTER] = [7, -7, 7]
    assert count_overlapping(boxes, np.array([True, False, False]), 8) == 1


@given(points=st.lists(st.tuples(*[st.integers(0, 20)] * 3), min_size=2, max_size=20), seed=st.integers(0, 5))
def test_overlaps_agree_with_voxels_in_common(points, seed):
    centers = np.array(points)
    random = np.random.default_rng(seed)
    runs = random.choice(["a", "b"], len(points))
    validates = random.random(len(points)) < 0.4
    expected = 0
    for held in np.flatnonzero(validates):
        voxels = np.zeros((30, 30, 30), dtype=bool)
        for other in np.flatnonzero(~validates & (runs == runs[held])):
            voxels[tuple(slice(c, c + 8) for c in centers[other])] = True
        expected += bool(voxels[tuple(slice(c, c + 8) for c in centers[held])].any())
    assert count_overlapping(table(runs, centers), validates, 8) == expected


@given(points=st.lists(st.tuples(*[st.integers(0, 60)] * 3), min_size=2, max_size=30))
def test_slabs_of_the_only_tomogram_share_no_voxel(points):
    boxes = table(["a"] * len(points), points)
    names = np.array(split(boxes, validation_fraction=0.2).names)
    assert count_overlapping(boxes[names != "gap"], names[names != "gap"] == "validation", 8) == 0
    assert "train" in names
    if "validation" not in names:  # no plane leaves anything to train on
        count = max(1, round(0.2 * len(points)))
        for end in np.concatenate([np.array(points).T, -np.array(points).T]):
            assert end.max() < np.sort(end)[count - 1] + 8


def test_the_gap_is_as_narrow_as_can_be():
    line = [[0, 0, x] for x in range(0, 100, 4)]
    assert split(table(["a"] * 25, line)).names == ["validation"] * 2 + ["gap"] + ["train"] * 22
