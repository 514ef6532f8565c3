import numpy as np
import pytest

from frazil.core.errors import ShapeError
from frazil.evaluation.stages import feature_sets as module
from frazil.evaluation.stages.feature_sets import Features, embed_sets, equal_numbers, volumes_to_embed
from frazil.evaluation.volumes import Sets, VolumeSet


def two_numbers(volumes):
    """Three features: two with units far apart, and one that hardly ever varies."""
    flat = volumes.reshape(len(volumes), -1)
    return np.stack([1000 * flat[:, 0] + 5, flat[:, 1], 1e-6 * flat[:, 2]], axis=1)


def volumes(count, seed, mean=0.0):
    values = np.random.default_rng(seed).standard_normal((count, 2, 2, 2)).astype(np.float32) + np.float32(mean)
    return VolumeSet(values, np.array(["a", "b"] * (count // 2)), tuple(f"{seed} {row}" for row in range(count)), 10.0)


def sets():
    return Sets(generated=volumes(10, 0, mean=2), held_out=volumes(20, 1), training=volumes(40, 2), seed=7)


def test_training_boxes_set_the_scale_of_all_sets():
    found = embed_sets(sets(), "two", two_numbers)
    assert found.training.values.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert found.training.values.std(axis=0)[:2] == pytest.approx([1, 1])
    raw = two_numbers(sets().training.volumes).astype(np.float64)
    expected = (two_numbers(sets().generated.volumes)[:, :2] - raw.mean(axis=0)[:2]) / raw.std(axis=0)[:2]
    assert found.by_role["generated"].values[:, :2] == pytest.approx(expected, rel=1e-5)
    assert list(found.by_role["generated"].labels) == list(sets().generated.labels)


def test_a_feature_that_hardly_varies_is_not_blown_up():
    found = embed_sets(sets(), "two", two_numbers)
    assert found.training.values.std(axis=0)[2] < 1e-4


def test_controls_are_the_sets_of_the_evaluation():
    found, given = embed_sets(sets(), "two", two_numbers), sets()
    raw = two_numbers(given.training.volumes).astype(np.float64)
    for features, control in (
        (found.by_role["real"], given.training_like_generated()),
        (found.by_role["noise"], given.noise()),
    ):
        expected = (two_numbers(control.volumes)[:, 1] - raw.mean(axis=0)[1]) / raw.std(axis=0)[1]
        assert features.values[:, 1] == pytest.approx(expected, rel=1e-5)
        assert list(features.labels) == list(control.labels)


def test_components_are_the_principal_axes_of_the_training_boxes():
    found = embed_sets(sets(), "two", two_numbers)
    values = found.training.values @ found.components.T
    covariance = np.cov(values, rowvar=False)
    assert covariance == pytest.approx(np.diag(np.diag(covariance)), abs=1e-9)
    assert list(np.diag(covariance)) == sorted(np.diag(covariance), reverse=True)


def test_progress_counts_every_volume():
    told = []
    embed_sets(sets(), "two", two_numbers, told.append)
    assert sum(told) == volumes_to_embed(sets()) == 3 * 10 + 20 + 40


def test_many_training_boxes_are_drawn_from_at_random(monkeypatch):
    monkeypatch.setattr(module, "_MOST_TRAINING", 12)
    found = embed_sets(sets(), "two", two_numbers)
    assert len(found.training.values) == 12
    assert len(found.by_role["held-out"].values) == 20
    assert np.array_equal(found.training.values, embed_sets(sets(), "two", two_numbers).training.values)


def test_features_that_are_no_numbers_are_refused_with_the_volume():
    broken = sets()
    broken.generated.volumes[3, 0, 0, 0] = np.nan
    with pytest.raises(ShapeError, match=r"0 3 \(generated\) has two features that are not finite"):
        embed_sets(broken, "two", two_numbers)


def taken(one, other, label, seed):
    """Return the rows that are compared: the features are the numbers of the rows."""
    features = [Features(np.arange(len(side))[:, None], np.array(side)) for side in (one, other)]
    return [rows[:, 0] for rows in equal_numbers(*features, label, seed=seed)]


def test_each_class_is_taken_as_often_as_on_the_smaller_side():
    one, other = np.array(list("aaaabbc")), np.array(list("bbbaabd"))
    rows, other_rows = taken(one, other, None, seed=3)
    assert sorted(one[rows]) == sorted(other[other_rows]) == list("aabb")
    assert len(set(rows)) == len(set(other_rows)) == 4
    rows, other_rows = taken(one, other, "a", seed=3)
    assert list(one[rows]) == list(other[other_rows]) == ["a", "a"]
    assert [len(rows) for rows in taken(["a"], ["b"], None, seed=0)] == [0, 0]


def test_equal_numbers_are_drawn_by_the_seed_and_a_smaller_draw_is_part_of_a_larger_one():
    many = ["a"] * 100
    draws = [taken(many, many[:count], "a", seed=seed)[0] for count, seed in ((30, 0), (30, 0), (30, 1), (20, 0))]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert set(draws[3]) < set(draws[0])
    assert max(draws[0]) > 40  # not simply the first
