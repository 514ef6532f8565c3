"""Useful volumes are found useful, wrong labels are noticed exactly where they should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frazil.core.seeds import numpy_generator
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Score
from frazil.evaluation.stages.material import Material
from frazil.evaluation.stages.usefulness.arms import CentralCubes, Plan
from frazil.evaluation.stages.usefulness.run import box_weights, over_seeds_and_boxes, usefulness
from frazil.evaluation.volumes import Sets

CLASSES = ("large", "middle", "small")
OPTIONS = {"seeds": (0, 1), "shares": (0.5, 2.0), "steps": 30, "batch_size": 12}


def score(section: StageRecord, name: str, label: str | None = None) -> Score:
    (found,) = [one for one in section.scores if (one.name, one.label) == (name, label)]
    return found


@pytest.fixture(scope="module")
def good(draw) -> Sets:
    """Generated volumes from the distribution of the real ones."""
    return Sets(
        generated=draw(12, "usefulness test", "generated"),
        held_out=draw(12, "usefulness test", "held-out"),
        training=draw(12, "usefulness test", "training"),
    )


@pytest.fixture(scope="module")
def good_section(good) -> StageRecord:
    return usefulness(Material(good), **OPTIONS)


@pytest.fixture(scope="module")
def shuffled_section(good) -> StageRecord:
    labels = numpy_generator(7, "shuffle").permutation(good.generated.labels)
    wrong = replace(good, generated=replace(good.generated, labels=labels))
    return usefulness(Material(wrong), **(OPTIONS | {"shares": ()}))


def test_volumes_like_real_ones_teach_like_real_ones(good_section):
    for measure in ("accuracy", "balanced_accuracy"):
        found = score(good_section, f"cas_{measure}")
        assert found.value > 0.9
        assert found.real > 0.9
        assert found.interval[0] <= found.value <= found.interval[1] <= 1
        assert found.count == 36
        assert "2 seeds" in found.note
        # three classes: chance is a third
        assert found.noise < 0.7
        assert found.shuffled < 0.8
    assert all(score(good_section, "cas_recall", label).value > 0.7 for label in CLASSES)


def test_volumes_like_real_ones_are_of_their_class(good_section):
    assert score(good_section, "class_accuracy").value > 0.95
    assert score(good_section, "class_accuracy").real > 0.95
    doubts = good_section.per_sample["class doubt"]
    assert len(doubts) == 36
    assert np.median(doubts) < 0.4


def test_shuffled_classes_are_noticed_where_they_matter_and_nowhere_else(good_section, shuffled_section):
    for name in ("cas_accuracy", "cas_balanced_accuracy", "class_accuracy", "class_balanced_accuracy"):
        assert score(shuffled_section, name).value < score(good_section, name).value - 0.2
    # what is of real volumes alone has not moved by a bit
    for name in ("cas_accuracy", "cas_balanced_accuracy"):
        assert score(shuffled_section, name).real == score(good_section, name).real
        assert score(shuffled_section, name).real_interval == score(good_section, name).real_interval
    for rival in ("copy_paste", "turns"):
        name = f"augment_{rival}_balanced_accuracy"
        assert score(shuffled_section, name).value == score(good_section, name).value
    assert score(shuffled_section, "class_accuracy").real == score(good_section, "class_accuracy").real
    worse = np.greater(shuffled_section.per_sample["class doubt"], good_section.per_sample["class doubt"])
    assert worse.mean() > 0.4  # two thirds of the labels are wrong, less the ties of the permutation


def test_additions_stand_beside_real_alone(good_section):
    mixed, alone = score(good_section, "augment_generated_50_balanced_accuracy"), score(good_section, "cas_accuracy")
    assert mixed.value > 0.8
    assert mixed.real == pytest.approx(score(good_section, "cas_balanced_accuracy").real)
    assert mixed.count == 36 + 18
    assert mixed.title.startswith("36 real + 50 % generated")
    gain = score(good_section, "gain_generated_50")
    assert gain.value == pytest.approx(mixed.value - mixed.real)
    assert gain.real is None
    assert alone.label is None
    assert score(good_section, "gain_copy_paste").value is not None
    assert "identity, y" in score(good_section, "augment_turns_accuracy").note  # the tilt range is not known


def test_too_few_generated_volumes_for_a_share_are_said(good_section):
    for name in ("augment_generated_200_accuracy", "augment_generated_200_balanced_accuracy", "gain_generated_200"):
        found = score(good_section, name)
        assert found.value is None
        assert "36 generated volumes" in found.note
        assert "72 are needed" in found.note


def test_the_plot_goes_from_real_alone_to_the_largest_share(good_section):
    (plot,) = good_section.plots
    assert plot.x == (0, 50)
    generated, real = plot.lines
    assert (generated.name, real.name) == ("generated", "real training")
    assert generated.y[0] == real.y[0] == real.y[1]
    assert generated.y[1] == score(good_section, "augment_generated_50_balanced_accuracy").value
    assert len(generated.low) == len(generated.high) == 2


def test_quick_is_one_seed_without_floors_and_the_same_again(good):
    told: list[float] = []
    material = Material(good, (-45.0, 45.0), quick=True)
    one = usefulness(material, told.append, steps=10, batch_size=6)
    again = usefulness(material, steps=10, batch_size=6)
    assert one.scores == again.scores
    np.testing.assert_array_equal(one.per_sample["class doubt"], again.per_sample["class doubt"])
    found = score(one, "cas_accuracy")
    assert found.interval is None
    assert found.noise is None
    assert found.shuffled is None
    assert "one seed" in found.note
    assert "x, y, z" in score(one, "augment_turns_accuracy").note
    assert score(one, "augment_generated_100_accuracy").value is not None
    # generated, real, 100 %, copy-paste, turns
    assert len(told) == 5 * 10
    assert told == sorted(told)
    assert told[-1] == 1


def test_one_generated_class_is_judged_among_all_real_ones(good):
    few = good.generated.subset([*range(12), 12, 13, 24])  # enough of the first class alone
    section = usefulness(Material(replace(good, generated=few)), seeds=(0,), shares=(1.0,), steps=40, batch_size=12)
    assert score(section, "class_accuracy", "large").value > 0.9
    assert score(section, "class_accuracy", "middle").value is None
    assert "2 generated" in score(section, "class_accuracy", "middle").note
    assert score(section, "cas_accuracy").value is None
    assert "1 classes with 5" in score(section, "cas_accuracy").note
    assert score(section, "gain_generated_100").value is None
    assert section.plots == ()
    (warning,) = section.warnings
    assert "middle, small" in warning
    assert None not in section.per_sample["class doubt"]


def test_a_class_that_real_boxes_lack_is_left_out_and_has_no_doubt(good):
    labels = good.generated.labels.astype(object)
    labels[:6] = "unheard"
    section = usefulness(
        Material(replace(good, generated=replace(good.generated, labels=labels)), quick=True), steps=5, batch_size=6
    )
    assert set(section.per_sample["class doubt"][:6]) == {None}
    assert None not in section.per_sample["class doubt"][6:]
    assert score(section, "cas_accuracy").count == 30
    assert score(section, "class_accuracy", "unheard").value is None


def test_too_few_real_boxes_leave_everything_unmeasured(good):
    section = usefulness(Material(replace(good, held_out=good.held_out.subset(range(14)))), shares=(1.0,))
    assert {one.value for one in section.scores} == {None}
    assert {one.note for one in section.scores} == {"1 classes with 5 training and 5 held-out boxes; 2 are needed"}
    assert section.per_sample == {}
    assert "middle, small" in section.warnings[0]


ALL_ALIKE = np.array(["a"] * 10)


def shares(*of_ten):
    """So many of ten boxes right, each seed in the same order."""
    return np.array([[1.0] * count + [0.0] * (10 - count) for count in of_ten])


def test_the_interval_is_over_seeds_and_boxes():
    right = shares(5, 6, 7)
    found = over_seeds_and_boxes(right, ALL_ALIKE, box_weights("accuracy", ALL_ALIKE))
    # t(0.975, 2) = 4.302653, standard deviation 0.1; of the boxes' means over seeds: 5 x 1, 2/3, 1/3, 3 x 0
    boxes = np.var([1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0], ddof=1) / 10
    half = np.hypot(4.302653 * 0.1 / np.sqrt(3), 1.959964 * np.sqrt(boxes))
    assert found.value == pytest.approx(0.6)
    assert found.interval == pytest.approx((0.6 - half, 0.6 + half))
    below = over_seeds_and_boxes(right, ALL_ALIKE, box_weights("accuracy", ALL_ALIKE), least=0.3)
    assert below.interval[0] == 0.3
    many = over_seeds_and_boxes(shares(9, 10), ALL_ALIKE, box_weights("accuracy", ALL_ALIKE))
    assert many.interval[1] == 1.0
    assert over_seeds_and_boxes(right[:1], ALL_ALIKE, box_weights("accuracy", ALL_ALIKE)).interval is None


def test_intervals_of_many_held_out_sets_hold_the_truth():
    """A classifier that is right with 0.8, seeds that differ by chance: 95 % intervals hold 0.8 in about 95 of 100 held-out sets."""
    random = np.random.default_rng(0)
    labels = np.array(["a"] * 40 + ["b"] * 20)
    held = 0
    for _ in range(200):
        right = (random.random((3, 60)) < np.clip(random.normal(0.8, 0.25, 60), 0, 1)).astype(float)
        truth = np.clip(random.normal(0.8, 0.25, 20000), 0, 1).mean()
        low, high = over_seeds_and_boxes(right, labels, box_weights("balanced accuracy", labels)).interval
        held += low <= truth <= high
    assert 0.93 < held / 200 <= 1.0


def test_weights_are_of_boxes_classes_or_one_class():
    labels = np.array(["a", "a", "a", "b"])
    right = np.array([[1.0, 1.0, 0.0, 1.0]])
    for measure, expected in (("accuracy", 0.75), ("balanced accuracy", (2 / 3 + 1) / 2), ("a", 2 / 3), ("b", 1.0)):
        found = over_seeds_and_boxes(right, labels, box_weights(measure, labels))
        assert found.value == pytest.approx(expected)


def test_the_score_of_generated_volumes_alone_is_at_the_count_of_real_ones(good):
    """Of a class with fewer training boxes than generated volumes no more of these are trained on than of those."""
    few = np.sort(
        np.concatenate(
            [np.flatnonzero(good.training.labels == name)[: 6 + place] for place, name in enumerate(CLASSES)]
        )
    )
    plan = Plan(
        CentralCubes(replace(good, training=good.training.subset(few))),
        CLASSES,
        CLASSES,
        (1.0,),
        False,
        ("identity",),
    )
    assert len(plan.generated) > len(plan.real) == len(plan.equal)
    assert sorted(plan.equal.labels) == sorted(plan.real.labels)
    (arm,) = [arm for arm in plan.arms(0) if arm.name == "generated"]
    assert len(arm.volumes()) == len(plan.real)
