"""Training sets hold what their names say, in the numbers that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from frazil.core.seeds import derive_seed, numpy_generator
from frazil.evaluation.stages.usefulness.arms import CentralCubes, Plan
from frazil.evaluation.stages.usefulness.rivals import class_radii_voxel, copy_paste
from frazil.evaluation.volumes import Sets, VolumeSet
from frazil.volume.turns import TURNS

EDGE = 48  # more than a classifier sees


def noise(counts: dict[str, int], name: str, level: float) -> VolumeSet:
    """White noise around a level that tells the sets apart."""
    labels = np.repeat(list(counts), list(counts.values()))
    random = numpy_generator(0, "arms", name)
    volumes = random.standard_normal((len(labels), EDGE, EDGE, EDGE), dtype=np.float32) + level
    return VolumeSet(volumes, labels, tuple(f"{name} {row}" for row in range(len(labels))), 10.0)


@pytest.fixture(scope="module")
def cubes() -> CentralCubes:
    return CentralCubes(
        Sets(
            generated=noise({"a": 6, "b": 5}, "generated", 100),
            held_out=noise({"a": 5, "b": 5, "c": 5}, "held-out", 200),
            training=noise({"a": 9, "b": 5, "c": 7}, "training", 300),
            seed=4,
        )
    )


def plan(cubes: CentralCubes, **changes) -> Plan:
    options = {
        "real_classes": ("a", "b", "c"),
        "classes": ("a", "b"),
        "shares": (0.25, 0.5, 1.0, 2.0),
        "floors": True,
        "turns": TURNS,
    }
    return Plan(cubes, **(options | changes))


def contents(plan: Plan, seed: int = 0) -> dict[str, tuple[int, int, dict[str, int]]]:
    """Return for each arm how many volumes are real and generated, and the classes."""
    found = {}
    for arm in plan.arms(seed):
        volumes = arm.volumes()
        levels = volumes.volumes.mean(axis=(1, 2, 3))
        counts = {name: int((volumes.labels == name).sum()) for name in volumes.classes}
        found[arm.name] = (int((levels > 250).sum()), int((np.abs(levels - 100) < 50).sum()), counts)
    return found


def test_every_arm_holds_what_it_is_named_for(cubes):
    found = contents(plan(cubes))
    assert found["generated"] == (0, 11, {"a": 6, "b": 5})
    assert found["real"] == (11, 0, {"a": 6, "b": 5})
    assert found["noise"] == (0, 0, {"a": 6, "b": 5})
    assert found["shuffled"] == (11, 0, {"a": 6, "b": 5})
    assert found["generated_25"][:2] == (11, 3)
    assert found["generated_50"][:2] == (11, 6)
    assert found["generated_100"] == (11, 11, {"a": 12, "b": 10})
    assert "generated_200" not in found  # takes 22, there are 11
    assert found["copy_paste"][2] == {"a": 12, "b": 10}
    assert found["turns"] == found["real"]
    assert found["all_real"] == (14, 0, {"a": 9, "b": 5})
    assert found["all_generated"] == (14, 11, {"a": 15, "b": 10})
    assert found["every_class"] == (21, 0, {"a": 9, "b": 5, "c": 7})
    assert [arm.name for arm in plan(cubes).arms(0) if arm.turns == TURNS] == ["turns"]
    assert {*found} - {arm.name for arm in plan(cubes, floors=False).arms(0)} == {"noise", "shuffled"}
    assert [arm.name for arm in plan(cubes, classes=("a",)).arms(0)] == ["every_class"]


def test_volumes_are_cut_as_far_as_a_classifier_sees(cubes):
    assert cubes.window_voxel == 32
    assert cubes.sets.generated.volumes.shape == (11, 36, 36, 36)
    whole = cubes.whole.generated.volumes
    np.testing.assert_array_equal(cubes.sets.generated.volumes, whole[:, 6:42, 6:42, 6:42])


def test_a_smaller_share_is_part_of_a_larger_one_and_seeds_draw_differently(cubes):
    def drawn(name: str, seed: int) -> set[str]:
        (arm,) = [arm for arm in plan(cubes).arms(seed) if arm.name == name]
        return set(arm.volumes().names[11:])  # after the real ones

    for seed in (0, 1):
        assert drawn("generated_25", seed) < drawn("generated_50", seed) < drawn("generated_100", seed)
    assert drawn("generated_50", 0) == drawn("generated_50", 0)
    assert len({frozenset(drawn("generated_50", seed)) for seed in range(6)}) > 1


def test_whole_boxes_are_pasted_before_they_are_cut(cubes):
    (arm,) = [arm for arm in plan(cubes).arms(3) if arm.name == "copy_paste"]
    made = arm.volumes()
    real, pasted = made.subset(range(11)), made.subset(range(11, 22))
    training = cubes.whole.training
    whole = copy_paste(
        training,
        [int(name) for name in real.names],
        radii_voxel=class_radii_voxel(training),
        edge_voxel=EDGE,
        seed=derive_seed(4, "usefulness", 3),
    )
    np.testing.assert_array_equal(pasted.volumes, whole.volumes[:, 6:42, 6:42, 6:42])
    assert list(pasted.labels) == list(whole.labels)


def test_the_judge_knows_every_class_and_all_real_volumes(cubes):
    assert plan(cubes).judge == "every_class"
    alike = plan(cubes, real_classes=("a", "b"))
    assert alike.judge == "all_real"
    assert "every_class" not in [arm.name for arm in alike.arms(0)]
    sets = cubes.whole
    as_many = CentralCubes(Sets(sets.generated, sets.held_out, sets.training_like_generated()))
    equal = plan(as_many, real_classes=("a", "b"))
    assert equal.judge == "real"
    assert not {"all_real", "all_generated", "every_class"} & {arm.name for arm in equal.arms(0)}
