"""Copy-paste puts the particle, whole, at the center, and leaves nothing of the other one."""

from __future__ import annotations

import numpy as np
import pytest

from frazil.core.seeds import numpy_generator
from frazil.evaluation.stages.usefulness.rivals import ball_weights, class_radii_voxel, copy_paste, paste
from frazil.evaluation.volumes import VolumeSet

EDGE = 24
RADII = {"large": 7.0, "small": 3.0}


def distance(edge: int = EDGE) -> np.ndarray:
    axis = np.square(np.arange(edge) - edge // 2)
    return np.sqrt(axis[:, None, None] + axis[:, None] + axis)


def balls(per_class: int = 6, depth: float = 6.0) -> VolumeSet:
    random = numpy_generator(0, "balls")
    labels = np.repeat(sorted(RADII), per_class)
    volumes = random.standard_normal((len(labels), EDGE, EDGE, EDGE)).astype(np.float32)
    for volume, label in zip(volumes, labels, strict=True):
        volume[distance() <= RADII[label]] -= depth
    volumes -= volumes.mean(axis=(1, 2, 3), keepdims=True)
    volumes /= volumes.std(axis=(1, 2, 3), keepdims=True)
    return VolumeSet(volumes, labels, tuple(f"box {row}" for row in range(len(labels))), 10.0)


def test_the_radius_of_a_class_is_found():
    found = class_radii_voxel(balls())
    assert found.keys() == RADII.keys()
    for label, radius in RADII.items():
        assert abs(found[label] - radius) <= 1


def test_a_class_that_shows_nothing_dark_gets_a_quarter_of_the_box():
    bright = VolumeSet(np.ones((2, 16, 16, 16), np.float32), np.array(["a", "a"]), ("1", "2"), 10.0)
    assert class_radii_voxel(bright) == {"a": 4.0}


@pytest.mark.parametrize("radius", [3.0, 6.5, 40.0])
def test_weights_are_whole_inside_and_nothing_at_the_faces(radius):
    weights = ball_weights(EDGE, radius)
    inside = distance() <= min(radius, EDGE // 2 - 4)
    assert (weights[inside] == 1).all()
    assert weights[EDGE // 2, EDGE // 2, 1] == pytest.approx(0, abs=1e-6)
    assert (weights[distance() >= EDGE // 2 - 1] < 1e-6).all()
    # falls, never rises, along a radius
    assert (np.diff(weights[EDGE // 2, EDGE // 2, EDGE // 2 :]) <= 0).all()


def test_the_pasted_particle_is_at_the_centre_and_the_rest_is_background():
    particle = np.zeros((EDGE, EDGE, EDGE), np.float32)
    particle[EDGE // 2, EDGE // 2, EDGE // 2] = 1  # a delta
    background = numpy_generator(1, "background").standard_normal((EDGE, EDGE, EDGE)).astype(np.float32)
    pasted = paste(particle, background, 3.0)
    # z-scored once more, so known up to one factor and one offset
    outside = distance() > 8
    slope, offset = np.polyfit(background[outside], pasted[outside], 1)
    np.testing.assert_allclose(slope * background[outside] + offset, pasted[outside], atol=1e-5)
    inner = (pasted - offset)[distance() <= 4] / slope
    expected = particle[distance() <= 4]
    np.testing.assert_allclose(inner, expected, atol=1e-5)
    assert pasted.mean() == pytest.approx(0, abs=1e-6)
    assert pasted.std() == pytest.approx(1, abs=1e-3)


def test_classes_are_those_of_the_pasted_particles_and_the_old_ones_are_gone():
    real = balls()
    made = copy_paste(real, range(12), radii_voxel=class_radii_voxel(real), edge_voxel=EDGE, seed=0)
    assert sorted(made.labels) == ["large"] * 6 + ["small"] * 6  # each box gives its particle
    shell = (distance() > RADII["small"] + 1) & (distance() <= RADII["large"])
    for volume, label in zip(made.volumes, made.labels, strict=True):
        inside = volume[distance() <= RADII["small"]].mean()
        around = volume[distance() > 11].mean()
        assert inside < around - 1
        # a small particle on the background of a large one keeps nothing of the large one's shell
        assert (volume[shell].mean() < around - 1) == (label == "large")


def test_a_box_is_never_pasted_onto_itself_and_the_draw_is_that_of_its_seed():
    real = balls(per_class=2)
    names = []
    for seed in range(10):
        made = copy_paste(real, range(4), radii_voxel=RADII, edge_voxel=EDGE, seed=seed)
        names.append(made.names)
        for name in made.names:
            particle, background = name.split(" on ")
            assert particle != background
    assert len(set(names)) > 5
    again = copy_paste(real, range(4), radii_voxel=RADII, edge_voxel=EDGE, seed=9)
    np.testing.assert_array_equal(made.volumes, again.volumes)


def test_keeping_the_middle_is_cropping_the_result():
    real = balls(per_class=2)
    whole, middle = (
        copy_paste(real, range(4), radii_voxel=RADII, edge_voxel=edge, seed=0).volumes for edge in (EDGE, 10)
    )
    np.testing.assert_array_equal(middle, whole[:, 7:17, 7:17, 7:17])


def test_only_the_boxes_that_were_asked_for_are_used():
    real = balls()
    made = copy_paste(real, [1, 4, 9], radii_voxel=RADII, edge_voxel=EDGE, seed=0)
    assert {part for name in made.names for part in name.split(" on ")} == {"box 1", "box 4", "box 9"}
    part = copy_paste(real.subset([1, 4, 9]), range(3), radii_voxel=RADII, edge_voxel=EDGE, seed=0)
    np.testing.assert_array_equal(made.volumes, part.volumes)
    assert list(made.labels) == list(part.labels)
