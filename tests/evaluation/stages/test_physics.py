"""Real ones are pieces of a colored, wedged noise with a hollow or a full particle in the middle."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Score
from frazil.evaluation.stages.material import Material
from frazil.evaluation.stages.physics import physics
from frazil.evaluation.volumes import Sets, VolumeSet

EDGE = 32
RADIUS = {"hollow": 7.0, "full": 5.0}
_FREQUENCY = np.meshgrid(*[np.fft.fftfreq(EDGE)] * 3, indexing="ij")
_WEDGE = np.abs(_FREQUENCY[0]) <= np.abs(_FREQUENCY[2]) + 1e-9  # tilts of -45 to 45 about y


def scored(volumes: np.ndarray) -> np.ndarray:
    axes = (1, 2, 3)
    volumes = volumes - volumes.mean(axis=axes, keepdims=True)
    return (volumes / volumes.std(axis=axes, keepdims=True)).astype(np.float32)


def pieces(seed: int, count: int = 14, *, filled: bool = False) -> VolumeSet:
    random = np.random.default_rng(seed)
    distance = np.sqrt(sum(np.square(axis - EDGE // 2) for axis in np.indices((EDGE,) * 3)))
    particles = {
        "hollow": -4 * np.exp(-np.square(distance - RADIUS["hollow"]) / 2),
        "full": -3 / (1 + np.exp(2 * (distance - RADIUS["full"]))),
    }
    if filled:
        particles["hollow"] = -3 / (1 + np.exp(2 * (distance - RADIUS["hollow"] - 1)))
    labels = np.array(["hollow", "full"] * count)
    falling = 1 / (1 + np.square(np.linalg.norm(_FREQUENCY, axis=0) / 0.15))
    clean = np.stack([particles[label] for label in labels])
    clean += 2 * random.standard_normal(clean.shape)
    volumes = np.fft.ifftn(np.fft.fftn(clean, axes=(1, 2, 3)) * falling * _WEDGE, axes=(1, 2, 3)).real
    return VolumeSet(scored(volumes), labels, tuple(f"{seed} {row}" for row in range(2 * count)), 10.0)


def changed(change: Callable[[np.ndarray], np.ndarray]) -> VolumeSet:
    """New pieces, each changed."""
    fresh = pieces(3)
    return replace(fresh, volumes=scored(np.stack([change(volume) for volume in fresh.volumes])))


HELD_OUT, TRAINING = pieces(1), pieces(2)


def by_name(record: StageRecord) -> dict[tuple[str, str | None], Score]:
    return {(score.name, score.label): score for score in record.scores}


def judge(generated: VolumeSet, **how) -> dict[tuple[str, str | None], Score]:
    return by_name(physics(Material(Sets(generated, HELD_OUT, TRAINING), **how)))


@pytest.fixture(scope="module")
def fresh_record() -> StageRecord:
    """What is found of volumes that could not be better: other pieces of the same kind."""
    return physics(Material(Sets(pieces(3), HELD_OUT, TRAINING)))


@pytest.fixture(scope="module")
def fresh(fresh_record) -> dict[tuple[str, str | None], Score]:
    return by_name(fresh_record)


DISTANCES = [
    *(f"spectrum_{plane}_dex" for plane in ("xy", "xz", "yz", "3d")),
    "wedge_profile_dex",
    "grey_values_wasserstein",
    "autocorrelation_distance",
]
CORRELATIONS = [(f"profile_{kind}_correlation", label) for kind in ("xy", "3d") for label in RADIUS]


def worse(scores) -> set[str]:
    """Return the distances that are a tenth of the way to noise, and the correlations that fell."""
    found = {name for name in DISTANCES if scores[name, None].value > scores[name, None].noise / 10}
    return found | {name for name, label in CORRELATIONS if scores[name, label].value < 0.9}


def test_a_set_is_at_no_distance_from_itself():
    scores = judge(HELD_OUT)
    for name in DISTANCES:
        assert scores[name, None].value == pytest.approx(0, abs=1e-7)
        assert scores[name, None].interval[0] == pytest.approx(0, abs=1e-7)
    for name, label in CORRELATIONS:
        assert scores[name, label].value == pytest.approx(1)
    share = scores["ring_share_percent", "hollow"]
    assert share.value == 100


def test_fresh_pieces_are_as_near_as_training_ones_and_far_from_noise(fresh):
    assert worse(fresh) == set()
    for name in DISTANCES:
        score = fresh[name, None]
        assert score.value < 2.5 * score.real
        assert score.interval[0] <= score.value <= score.interval[1]
        assert (score.count, score.better, score.question) == (28, "lower", "realistic")
        assert score.shuffled is None  # labels do not matter here
    for name, label in CORRELATIONS:
        score = fresh[name, label]
        assert min(score.value, score.real) > 0.95
        assert score.noise < 0.7
        assert score.shuffled < score.real
        assert score.question == "right class"


def test_a_blurred_set_worsens_spectrum_and_autocorrelation_and_nothing_of_class(fresh):
    scores = judge(changed(lambda volume: ndimage.gaussian_filter(volume, 0.6)))
    # without its noise a piece is more of its particle, so that the gray values notice too
    spectra = {name for name in DISTANCES if "spectrum" in name}
    assert worse(scores) - {"grey_values_wasserstein"} == spectra
    assert scores["autocorrelation_distance", None].value > 2 * fresh["autocorrelation_distance", None].value
    radius = scores["ring_radius_voxel", "hollow"]
    assert radius.value == pytest.approx(radius.real, abs=0.3)


def test_a_noised_set_fills_the_wedge_and_worsens_every_distance(fresh):
    random = np.random.default_rng(4)
    scores = judge(changed(lambda volume: volume + 0.9 * random.standard_normal(volume.shape)))
    spectra = {name for name in DISTANCES if "spectrum" in name}
    assert worse(scores) >= {*spectra, "wedge_profile_dex", "autocorrelation_distance"}
    power, real = scores["missing_wedge_power_percent", None], fresh["missing_wedge_power_percent", None]
    assert power.value > 2 * real.value
    # the mean of a class averages it out: nothing of class
    assert all(scores[name, label].value > 0.9 for name, label in CORRELATIONS)


def test_a_set_turned_by_90_degrees_about_z_worsens_what_knows_the_wedge_and_nothing_else(fresh):
    scores = judge(changed(lambda volume: np.rot90(volume, axes=(1, 2))))
    assert worse(scores) == {
        "wedge_profile_dex",
        "spectrum_xz_dex",
        "spectrum_yz_dex",
        "autocorrelation_distance",
    }
    assert scores["missing_wedge_power_percent", None].value > 3 * fresh["missing_wedge_power_percent", None].value
    assert scores["missing_wedge_power_percent", None].noise == pytest.approx(100, abs=5)


def test_shuffled_labels_worsen_the_classes_and_nothing_else(fresh):
    right = pieces(3)
    wrong = replace(right, labels=np.roll(right.labels, 1))
    scores = judge(wrong)
    assert worse(scores) == {"profile_xy_correlation", "profile_3d_correlation"}
    assert scores["ring_radius_voxel", "hollow"].value is None
    assert scores["ring_share_percent", "hollow"].value < 20
    assert scores["spectrum_3d_dex", None].value == pytest.approx(fresh["spectrum_3d_dex", None].value)


def test_the_ring_has_the_radius_of_the_shell_in_voxels_and_angstrom(fresh):
    radius = fresh["ring_radius_voxel", "hollow"]
    assert radius.value == pytest.approx(RADIUS["hollow"], abs=0.5)
    assert radius.real == pytest.approx(RADIUS["hollow"], abs=0.5)
    assert radius.interval[0] < radius.value < radius.interval[1]
    assert fresh["ring_radius_angstrom", "hollow"].value == pytest.approx(10 * radius.value)
    assert (radius.noise, radius.better, radius.unit) == (None, "as real", "voxel")
    assert fresh["ring_spread_voxel", "hollow"].value < 0.5
    assert fresh["ring_share_percent", "hollow"].value > 90
    assert "held-out real" in radius.note


def test_only_hollow_classes_are_judged_by_their_ring(fresh):
    assert ("ring_radius_voxel", "full") not in fresh
    assert "no clear ring" in fresh["ring_depth", "full"].note
    assert fresh["ring_depth", "hollow"].value > 1
    assert fresh["ring_depth", "full"].value < 0.3


def test_filled_shells_lose_their_ring_and_full_particles_nothing():
    """What the reference implementation does to apo-ferritin."""
    scores = judge(pieces(3, filled=True))
    assert scores["ring_depth", "hollow"].value < 0
    assert scores["ring_radius_voxel", "hollow"].value is None
    assert "no ring near 6.6 voxels" in scores["ring_radius_voxel", "hollow"].note
    assert scores["ring_share_percent", "hollow"].value < 10
    assert scores["profile_xy_correlation", "hollow"].value < 0.9
    assert scores["profile_xy_correlation", "full"].value > 0.95


def test_grey_values_have_the_skew_and_kurtosis_of_their_distribution():
    random = np.random.default_rng(5)
    some = pieces(3)
    # the exponential distribution, dark: skew -2, excess kurtosis 6
    dark = replace(some, volumes=-random.exponential(size=some.volumes.shape).astype(np.float32))
    scores = judge(dark)
    assert scores["grey_values_skew", None].value == pytest.approx(-2, abs=0.1)
    assert scores["grey_values_kurtosis", None].value == pytest.approx(6, abs=0.7)
    assert scores["grey_values_kurtosis", None].noise == pytest.approx(0, abs=0.1)


def test_other_proportions_of_the_classes_are_no_distance(fresh):
    """Three in four held-out volumes are full, one in four of the generated ones: each class is as it should be."""
    held_out = HELD_OUT.subset(
        [*np.flatnonzero(HELD_OUT.labels == "full"), *np.flatnonzero(HELD_OUT.labels == "hollow")[:5]]
    )
    own = pieces(3)
    generated = own.subset([*np.flatnonzero(own.labels == "hollow"), *np.flatnonzero(own.labels == "full")[:5]])
    section = physics(Material(Sets(generated, held_out, TRAINING)))
    for score in section.scores:
        if score.name in DISTANCES:
            assert score.value < 3 * fresh[score.name, None].value


def test_too_few_of_a_class_and_a_class_without_held_out_ones_have_no_numbers():
    few = pieces(3)
    few = few.subset([*np.flatnonzero(few.labels == "full"), *np.flatnonzero(few.labels == "hollow")[:4]])
    section = physics(Material(Sets(few, HELD_OUT, TRAINING)))
    hollow = [score for score in section.scores if score.label == "hollow"]
    assert {score.name for score in hollow} >= {"profile_xy_correlation", "ring_depth"}
    for score in hollow:
        assert (score.value, score.interval, score.count) == (None, None, 4)
        assert score.note == "4 generated and 14 held-out volumes of hollow; 5 of each are needed"
    assert all(score.value is not None for score in section.scores if score.label != "hollow")

    section = physics(Material(Sets(pieces(3), HELD_OUT.of("full"), TRAINING)))
    assert section.warnings == ("hollow: no held-out volumes; no physics scores for this class",)
    spectrum = next(score for score in section.scores if score.name == "spectrum_xy_dex")
    assert spectrum.count == 14
    assert len(section.per_sample["spectrum"]) == 28


def test_one_volume_gives_no_numbers_and_no_error():
    section = physics(Material(Sets(pieces(3).subset([0]), HELD_OUT.subset([0, 1, 2]), TRAINING)))
    assert {score.value for score in section.scores} == {None}
    assert section.per_sample == {}
    assert all(line.low == () for plot in section.plots for line in plot.lines)


def test_plots_show_the_sets_side_by_side(fresh_record):
    plots = {(plot.name, plot.label): plot for plot in fresh_record.plots}
    names = {"spectrum_xy", "spectrum_xz", "spectrum_yz", "spectrum_3d", "wedge_profile", "grey_values"}
    names |= {f"autocorrelation_{axis}" for axis in "zyx"}
    assert {name for name, label in plots if label is None} == names
    assert {(name, label) for name, label in plots if label} == {
        (f"profile_{kind}", label) for kind in ("xy", "3d") for label in RADIUS
    }
    for plot in plots.values():
        assert {line.name for line in plot.lines} == {"generated", "real held-out", "real training", "noise"}
        for line in plot.lines:
            assert len(line.y) == len(line.low) == len(line.high) == len(plot.x)
            known = [
                (low, y, high) for low, y, high in zip(line.low, line.y, line.high, strict=True) if None not in (low, y)
            ]
            assert all(low - 1e-4 <= y <= high + 1e-4 for low, y, high in known)
    noise = next(line for line in plots["spectrum_3d", None].lines if line.name == "noise")
    assert np.abs(noise.y[3:]).max() < 0.1
    ring = next(line for line in plots["profile_xy", "hollow"].lines if line.name == "generated")
    assert plots["profile_xy", "hollow"].x[int(np.argmin(ring.y))] == pytest.approx(RADIUS["hollow"], abs=0.5)


def test_single_volumes_are_as_far_from_real_ones_as_they_look():
    some = pieces(3)
    volumes = some.volumes.copy()
    volumes[0] = ndimage.gaussian_filter(volumes[0], 1)
    volumes[2] = volumes[3]  # a full one under the label of a hollow one
    found = physics(Material(Sets(replace(some, volumes=scored(volumes)), HELD_OUT, TRAINING))).per_sample
    assert set(found) == {"spectrum", "wedge", "grey values", "profile", "ring"}
    for values in found.values():
        assert len(values) == len(some)
        assert None not in values
    assert np.argmax(found["spectrum"]) == 0
    assert np.median(found["spectrum"]) == pytest.approx(1, abs=0.2)
    assert np.argmax(found["profile"]) == np.argmax(found["ring"]) == 2
    assert set(found["ring"][1::2]) == {0}  # full ones


def test_the_same_input_gives_the_same_numbers_and_the_steps_go_up_to_one(fresh_record):
    shares = []
    assert physics(Material(Sets(pieces(3), HELD_OUT, TRAINING)), shares.append) == fresh_record
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_wedge_is_that_of_the_tilt_range(fresh):
    unknown = fresh["missing_wedge_power_percent", None]
    assert "beyond -50 and 50 degrees (the tilt range is not known)" in unknown.note
    narrow = judge(pieces(3), tilt_range_degrees=(-20, 20))["missing_wedge_power_percent", None]
    assert narrow.value > 3 * unknown.value
    assert "beyond -25 and 25 degrees" in narrow.note
    none = judge(pieces(3), tilt_range_degrees=(-89, 89))["missing_wedge_power_percent", None]
    assert none.value is None
    assert "no coefficient" in none.note


def test_without_training_volumes_the_floor_is_missing_and_nothing_else():
    scores = physics(Material(Sets(pieces(3), HELD_OUT, TRAINING.subset([])))).scores
    assert all(score.value is not None for score in scores)
    assert {score.real for score in scores} == {None}
