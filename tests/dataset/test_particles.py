import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.records import Picks
from frazil.dataset.particles import (
    CENTER_ANGSTROM,
    ROTATION,
    annotated_particles,
    find_duplicates,
    find_outside,
    summary,
)


def test_one_row_a_pick_with_its_orientation():
    turn = np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    table = annotated_particles(
        [
            Picks("a", "ribosome", np.array([[1.0, 2, 3]]), rotations=turn, user="me", session="1"),
            Picks("a", "apo-ferritin", np.array([[4.0, 5, 6], [7, 8, 9]])),
        ]
    )
    assert table["label"].tolist() == ["ribosome", "apo-ferritin", "apo-ferritin"]
    assert table[CENTER_ANGSTROM].to_numpy().tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert table.loc[0, ROTATION].to_list() == turn.ravel().tolist()
    assert table.loc[0, "rotation_zy"] == -1
    assert table.loc[1:, ROTATION].isna().all(axis=None)
    assert table[["user", "session"]].to_numpy().tolist() == [["me", "1"], ["", ""], ["", ""]]


@pytest.mark.parametrize("picks", [[], [Picks("a", "ribosome", np.zeros((0, 3)))]])
def test_no_picks_give_an_empty_table_with_all_columns(picks):
    table = annotated_particles(picks)
    assert len(table) == 0
    assert {"run", "label", "user", *CENTER_ANGSTROM, *ROTATION} <= set(table.columns)


def test_outside_is_beyond_the_border_of_the_last_voxel():
    centers = [[-0.5, 0, 0], [-0.6, 0, 0], [9.4, 3, 3], [9.6, 3, 3], [0, 5, np.nan]]
    assert find_outside(np.array(centers), (10, 10, 10)).tolist() == [False, True, False, True, True]


def test_a_duplicate_of_a_duplicate_is_none():
    centers = np.array([[0.0, 0, 0], [0.4, 0, 0], [0.8, 0, 0], [5, 5, 5], [np.nan] * 3, [np.nan] * 3])
    assert find_duplicates(centers, 0.5).tolist() == [False, True, False, False, False, False]


@given(points=st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=12))
def test_what_is_kept_is_apart_and_what_is_not_is_near(points):
    centers = np.array(points, dtype=np.float64).reshape(-1, 3)
    duplicate = find_duplicates(centers, 1.0)
    kept = centers[~duplicate]
    apart = np.linalg.norm(kept[:, None] - kept, axis=-1) + 10 * np.eye(len(kept))
    assert (apart > 1).all()
    assert all(np.linalg.norm(kept - center, axis=-1).min() <= 1 for center in centers[duplicate])


def test_summary_names_reasons_the_commonest_first():
    table = annotated_particles([Picks("a", "b", np.zeros((3, 3)))])
    table["reason"] = ["", "duplicate", "duplicate"]
    assert summary(table) == "2 duplicate, 1 to cut"
