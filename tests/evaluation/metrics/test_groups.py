import numpy as np

from frazil.evaluation.metrics.groups import class_groups, equal_rows
from frazil.evaluation.volumes import Sets, VolumeSet


def labelled(*labels):
    return VolumeSet(np.zeros((len(labels), 1, 1, 1), np.float32), np.array(labels), tuple(labels), 10.0)


def test_everything_is_judged_and_each_class_if_there_are_several():
    several, one = labelled("b", "a", "b"), labelled("b", "b")
    assert class_groups(Sets(several, one, one)) == (None, "a", "b")
    assert class_groups(Sets(one, several, several)) == (None,)


def test_rows_hold_each_class_as_often_as_the_smaller_side():
    one, other = np.array(list("aaaabbc")), np.array(list("bbbaabd"))
    rows, other_rows = equal_rows(one, other, None, seed=3)
    assert sorted(one[rows]) == sorted(other[other_rows]) == list("aabb")
    assert len(set(rows)) == len(set(other_rows)) == 4
    rows, other_rows = equal_rows(one, other, "a", seed=3)
    assert list(one[rows]) == list(other[other_rows]) == ["a", "a"]


def test_rows_are_drawn_by_the_seed_and_a_smaller_draw_is_part_of_a_larger_one():
    many = np.array(["a"] * 100)
    draws = [equal_rows(many, many[:count], "a", seed=seed)[0] for count, seed in ((30, 0), (30, 0), (30, 1), (20, 0))]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert set(draws[3]) < set(draws[0])
    assert max(draws[0]) > 40  # not simply the first


def test_a_class_on_one_side_only_has_no_rows():
    rows, other_rows = equal_rows(np.array(["a"]), np.array(["b"]), None, seed=0)
    assert len(rows) == len(other_rows) == 0
    assert rows.dtype == np.int64
