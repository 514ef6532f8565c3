import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.matching import aligned_box
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import QUESTIONS
from frazil.evaluation.stages.material import Material
from frazil.evaluation.stages.memorisation import memorisation, pair_volumes
from frazil.evaluation.verdicts import verdicts
from frazil.evaluation.volumes import Sets, VolumeSet

EDGE = 16
RADIUS = {"big": 5.0, "small": 3.0}


def draw(count, *path, labels=("big", "small"), sigma=1.0) -> VolumeSet:
    """Dark balls of two sizes in smooth noise: independent draws of one distribution."""
    random = numpy_generator(0, "memorisation", *path)
    volumes = gaussian_filter(random.standard_normal((count, EDGE, EDGE, EDGE)), (0, sigma, sigma, sigma))
    volumes /= volumes.std()
    grid = np.stack(np.meshgrid(*[np.arange(EDGE) - EDGE // 2] * 3, indexing="ij"), axis=-1)
    names = np.array([labels[row % len(labels)] for row in range(count)])
    for volume, label in zip(volumes, names, strict=True):
        offset = random.uniform(-0.5, 0.5, size=3)
        volume[np.linalg.norm(grid - offset, axis=-1) < RADIUS[label]] -= 1.5
    volumes -= volumes.mean(axis=(1, 2, 3), keepdims=True)
    volumes /= volumes.std(axis=(1, 2, 3), keepdims=True)
    return VolumeSet(volumes.astype(np.float32), names, tuple(f"{path[0]} {row}" for row in range(count)), 10.0)


def value(section: StageRecord, name: str, label=None):
    (found,) = [score for score in section.scores if score.name == name and score.label == label]
    return found


def replaced(of: VolumeSet, volumes: dict[int, np.ndarray]) -> VolumeSet:
    changed = of.volumes.copy()
    for row, volume in volumes.items():
        changed[row] = volume
    return replace(of, volumes=changed)


@pytest.fixture(scope="module")
def fresh() -> Sets:
    return Sets(generated=draw(30, "generated"), held_out=draw(40, "held-out"), training=draw(40, "training"))


@pytest.fixture(scope="module")
def fresh_section(fresh) -> StageRecord:
    return memorisation(Material(fresh))


def test_fresh_draws_are_as_near_as_held_out_boxes(fresh_section):
    ratio = value(fresh_section, "nearest_distance_ratio")
    assert ratio.value == pytest.approx(1, abs=0.05)
    assert ratio.interval[0] < 1 < ratio.interval[1]
    assert ratio.real == pytest.approx(1, abs=0.05)
    assert ratio.noise > 1.2
    assert value(fresh_section, "nearer_than_held_out_p").value > 0.05
    assert value(fresh_section, "nearer_than_held_out_p").noise > 0.999
    chance = value(fresh_section, "nearer_than_held_out_chance")
    assert chance.interval[0] < 0.5 < chance.interval[1]
    authentic = value(fresh_section, "authpct")
    assert authentic.value == pytest.approx(authentic.real, abs=25)  # shares of 30 and 40
    assert 20 < authentic.real < 95
    assert authentic.noise == 100
    assert value(fresh_section, "near_copies").value == value(fresh_section, "near_copies").real == 0
    assert value(fresh_section, "unusually_near").value < 15
    second = value(fresh_section, "nearest_to_second_ratio")
    assert second.value == pytest.approx(second.real, abs=0.05)
    assert fresh_section.warnings == ()
    assert np.median(fresh_section.per_sample["memorisation"]) == pytest.approx(0, abs=0.05)


def test_planted_copies_are_caught_with_box_turn_and_shift(fresh):
    planted = {
        3: (11, "identity", (1, -2, 0)),
        8: (0, "x", (2, 2, -2)),
        21: (39, "y", (0, 0, 1)),
        29: (30, "z", (-2, 1, 0)),
    }
    random = numpy_generator(0, "planted noise")
    copies = {
        row: aligned_box(fresh.training.volumes[box], turn, shift) + 0.2 * random.standard_normal((EDGE,) * 3)
        for row, (box, turn, shift) in planted.items()
    }
    sets = replace(fresh, generated=replaced(fresh.generated, copies))
    section = memorisation(Material(sets))
    nearest = {pair.sample: pair for pair in section.close_pairs[:4]}
    assert len(section.close_pairs) == 10
    for row, (box, turn, shift) in planted.items():
        pair = nearest[f"generated {row}"]
        assert (pair.box, pair.rotation, pair.shift_voxel) == (f"training {box}", turn, shift)
        assert pair.distance < 0.06
        assert pair.ratio < 0.25
        sample, aligned = pair_volumes(sets, pair)
        np.testing.assert_array_equal(sample, sets.generated.volumes[row])
        assert np.corrcoef(sample.ravel(), aligned.ravel())[0, 1] > 0.7  # the rim that was shifted in is empty
    assert set(np.argsort(section.per_sample["memorisation"])[-4:]) == set(planted)
    assert value(section, "near_copies").value == pytest.approx(400 / 30)
    assert value(section, "unusually_near").value >= 13
    (warning,) = section.warnings
    assert warning.startswith(
        "4 of 30 generated volumes are near duplicates of a training box (the first is generated 3, a copy of training 11)"
    )
    # four copies among thirty hardly move what is said of the whole
    assert value(section, "nearest_distance_ratio").value == pytest.approx(1, abs=0.06)


def test_each_volume_twice_is_told(fresh):
    half = fresh.generated.subset(np.arange(len(fresh.generated) // 2))
    twice = replace(
        half,
        volumes=np.concatenate([half.volumes, half.volumes + np.float32(0.02) * np.roll(half.volumes, 5, axis=1)]),
        labels=np.concatenate([half.labels] * 2),
        names=half.names + tuple(f"{name} again" for name in half.names),
    )
    section = memorisation(Material(replace(fresh, generated=twice)))
    doubles = value(section, "near_doubles")
    assert (doubles.value, doubles.real, doubles.question) == (100, 0, "varied")
    assert any("near duplicate among the generated ones" in text and half.names[0] in text for text in section.warnings)
    assert verdicts(section.scores, 100, 100)[QUESTIONS.index("varied")].answer == "no"


def test_mirrored_training_boxes_are_copies(fresh):
    of = fresh.training.subset(np.arange(10))
    mirrored = replace(
        of, volumes=np.ascontiguousarray(np.roll(of.volumes[:, :, ::-1], 1, axis=2))
    )  # in y: x and a half turn
    section = memorisation(Material(replace(fresh, generated=mirrored)))
    assert value(section, "near_copies").value == 0
    assert value(section, "near_copies_mirrored").value == 100
    assert "mirrored" in " ".join(section.warnings)
    new = verdicts(section.scores, 100, 100)[QUESTIONS.index("new")]
    assert new.answer == "no"
    assert "100 % of a mirrored one" in new.sentence


def test_the_training_set_is_no_new_set(fresh):
    section = memorisation(Material(replace(fresh, generated=fresh.training)))
    assert value(section, "authpct").value == 0
    assert value(section, "nearer_than_held_out_p").value < 1e-12
    assert value(section, "nearest_distance_ratio").value == pytest.approx(0, abs=1e-4)
    assert value(section, "nearer_than_held_out_chance").value == 1
    assert value(section, "near_copies").value == value(section, "unusually_near").value == 100
    assert value(section, "nearest_to_second_ratio").value == pytest.approx(0, abs=1e-4)
    assert section.close_pairs[0].rotation == "identity"
    assert section.close_pairs[0].shift_voxel == (0, 0, 0)
    assert "40 of 40 generated volumes are training boxes, voxel for voxel" in section.warnings[0]
    # the control is the same boxes, each against the others
    assert value(section, "nearest_distance_ratio").real == pytest.approx(1, abs=0.05)


def test_smooth_volumes_are_nearer_but_no_copies(fresh):
    smoothed = gaussian_filter(fresh.generated.volumes, (0, 1, 1, 1))
    section = memorisation(Material(replace(fresh, generated=replace(fresh.generated, volumes=smoothed))))
    assert value(section, "nearest_distance_ratio").value < 0.95
    assert value(section, "nearer_than_held_out_p").value < 0.01
    assert value(section, "near_copies").value == 0
    assert value(section, "nearest_to_second_ratio").value > 0.8


def test_held_out_boxes_and_twins_of_training_boxes_are_told(fresh):
    leaky = replaced(
        fresh.held_out, {5: fresh.training.volumes[7], 6: aligned_box(fresh.training.volumes[8], "y", (0, 2, 0))}
    )
    training = replaced(fresh.training, {1: aligned_box(fresh.training.volumes[0], "identity", (0, 0, 2))})
    sets = replace(
        fresh, held_out=leaky, training=training, generated=replaced(fresh.generated, {0: training.volumes[0]})
    )
    section = memorisation(Material(sets))
    assert any(w.startswith("2 of 40 held-out boxes hold the same voxels") for w in section.warnings)
    assert any(re.match("2 of [0-9]+ training boxes hold the same voxels", w) for w in section.warnings)
    assert value(section, "near_copies").value == pytest.approx(100 / 30)  # the copy of a doubled box is one


def test_the_nearest_other_of_a_doubled_box_is_another_particle(fresh):
    doubled = replaced(fresh.training, {1: fresh.training.volumes[0]})
    near = fresh.training.volumes[0] + 0.3 * numpy_generator(0, "near").standard_normal((EDGE,) * 3)
    generated = replace(fresh.generated, volumes=np.repeat(near[None].astype(np.float32), 30, axis=0))
    section = memorisation(Material(replace(fresh, training=doubled, generated=generated)))
    assert value(section, "authpct").value == 0  # against its twin at distance 0 every one would pass for authentic


@pytest.mark.parametrize("apart", [0.0, 0.3])
def test_a_copy_of_a_box_with_a_twin_is_one(fresh, apart):
    """Two picks of one particle: the same voxels, or nearly. The second nearest box of a copy is then as near as the first."""
    random = numpy_generator(0, "twins")
    box = fresh.training.volumes[0]
    training = replaced(fresh.training, {1: box + apart * random.standard_normal((EDGE,) * 3)})
    generated = replaced(fresh.generated, {4: box + 0.3 * random.standard_normal((EDGE,) * 3)})
    section = memorisation(Material(replace(fresh, training=training, generated=generated)))
    assert value(section, "near_copies").value == pytest.approx(100 / 30)
    assert any("near duplicates of a training box (the first is generated 4" in warning for warning in section.warnings)


def test_a_class_with_few_held_out_boxes_is_compared_with_all_and_in_no_rank_test(fresh):
    """The rank test would show how classes differ, not whether anything was copied."""

    def blurred(of):  # small ones lie much nearer to each other than big ones
        soft = gaussian_filter(of.volumes, (0, 2, 2, 2))
        rough = of.volumes + numpy_generator(0, "few", of.names[0]).standard_normal(of.volumes.shape)
        return replace(
            of, volumes=np.where((of.labels == "small")[:, None, None, None], soft, rough).astype(np.float32)
        )

    sets = Sets(blurred(fresh.generated), blurred(fresh.held_out), blurred(fresh.training))
    rows = [*np.flatnonzero(sets.held_out.labels == "big"), *np.flatnonzero(sets.held_out.labels == "small")[:4]]
    section = memorisation(Material(replace(sets, held_out=sets.held_out.subset(rows))))
    assert value(section, "nearer_than_held_out_p").value > 0.01
    assert "Without small: fewer than 5 held-out boxes." in value(section, "nearer_than_held_out_p").note
    few = value(section, "nearest_distance_ratio", "small")
    assert few.value is None
    assert few.note == "Not measured: 15 generated and 4 held-out volumes, 5 of each are needed."
    assert value(section, "nearest_distance_ratio", "big").value is not None
    assert None not in section.per_sample["memorisation"]


@pytest.mark.parametrize(
    ("part", "count", "note"),
    [
        ("generated", 4, "4 generated volumes, 5 are needed"),
        ("generated", 0, "0 generated volumes, 5 are needed"),
        ("held_out", 4, "4 held-out volumes, 5 are needed"),
        ("training", 1, "1 training volumes, 2 are needed"),
    ],
)
def test_too_few_volumes_are_told_and_nothing_is_made_up(fresh, part, count, note):
    section = memorisation(Material(replace(fresh, **{part: getattr(fresh, part).subset(range(count))})))
    assert len(section.scores) == 9
    for score in section.scores:
        assert score.value is None
        assert note in score.note
    assert len(section.close_pairs) == (4 if (part, count) == ("generated", 4) else 0)


def test_the_plot_holds_the_share_nearer_than_each_ratio(fresh, fresh_section):
    (plot,) = fresh_section.plots
    assert len(plot.x_title) <= 44  # fits under the axis on one line
    lines = {line.name: line for line in plot.lines}
    assert set(lines) == {"generated", "real held-out", "real training", "noise"}
    ratios = 1 - np.array(fresh_section.per_sample["memorisation"])
    for x, y in zip(plot.x, lines["generated"].y, strict=True):
        assert y == pytest.approx((ratios <= x).mean())
    for line in plot.lines:
        assert (np.diff(line.y) >= 0).all()
        assert all(low <= y <= high for low, y, high in zip(line.low, line.y, line.high, strict=True))


def test_it_is_deterministic_and_tells_its_progress(fresh, fresh_section):
    told = []
    assert memorisation(Material(fresh), told.append) == fresh_section
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) > 30


def test_large_held_out_and_noise_sets_are_sampled(fresh, monkeypatch):
    monkeypatch.setattr("frazil.evaluation.metrics.nearness._HELD_OUT_AT_MOST", 20)
    monkeypatch.setattr("frazil.evaluation.metrics.nearness._NOISE_AT_MOST", 3)
    section = memorisation(Material(fresh))
    assert "of 20 held-out boxes" in value(section, "unusually_near").note
    assert value(section, "nearest_distance_ratio").value == pytest.approx(1, abs=0.06)
