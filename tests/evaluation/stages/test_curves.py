"""Generated volumes against curves of real slices."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from frazil.core.slices import SliceSet
from frazil.dataset.slices import RealSlices
from frazil.evaluation.stages.curves import curves
from frazil.evaluation.stages.material import Material
from frazil.evaluation.verdicts import grade, verdicts
from frazil.evaluation.volumes import Sets, VolumeSet
from frazil.volume.slices import halves_floor, measure_slices

EDGE, LABELS = 32, ("apo-ferritin", "ribosome")


def particles(count: int, seed: int, smooth: float = 0.7) -> np.ndarray:
    """Dark balls in fine noise, two classes in turn."""
    random = np.random.default_rng(seed)
    radius = np.sqrt(sum(np.square(axis - EDGE // 2) for axis in np.indices((EDGE,) * 3)))
    volumes = []
    for row in range(count):
        noise = gaussian_filter(random.standard_normal((EDGE,) * 3), smooth)
        volume = noise / noise.std() - 6.0 * (radius < (4 if row % 2 else 7))
        volumes.append(gaussian_filter(volume, (0, 1.0, 0)))  # finer along x than along y, as real ones are
    scored = np.array(volumes, dtype=np.float32)
    return (scored - scored.mean(axis=(1, 2, 3), keepdims=True)) / scored.std(axis=(1, 2, 3), keepdims=True)


def labels(count: int) -> np.ndarray:
    return np.array([LABELS[row % 2] for row in range(count)])


@pytest.fixture(scope="module")
def real() -> RealSlices:
    measured = measure_slices(SliceSet.of_volumes(particles(8, seed=1), labels(8).tolist(), 10.0))
    return RealSlices(measured.curves().model_copy(update={"floors": halves_floor(measured)}), measured)


def judged(volumes: np.ndarray, real: RealSlices, names=None):
    made = VolumeSet(
        volumes, labels(len(volumes)) if names is None else names, tuple(map(str, range(len(volumes)))), 10.0
    )
    record = curves(Material(Sets(made, made.subset([]), made.subset([])), curves=real))
    answer = next(one for one in verdicts(record.scores, len(volumes), 0) if one.question == "near real data")
    return record, {(score.name, score.label): score for score in record.scores}, answer


def test_volumes_like_the_real_ones_are_near_them(real):
    record, scores, verdict = judged(particles(60, seed=2), real)
    assert verdict.answer == "yes", verdict.sentence
    spectrum = scores["curves_spectrum_dex", None]
    assert 0 < spectrum.value < spectrum.real < spectrum.noise
    assert spectrum.interval[0] <= spectrum.value <= spectrum.interval[1]
    assert spectrum.real == pytest.approx(real.curves.floors["spectrum"])
    assert {score.label for score in record.scores if score.name == "curves_profile"} == {None, *LABELS}
    assert scores["curves_profile", "ribosome"].value > 0.98
    assert "real slices" in scores["curves_skew", None].note
    assert [plot.title for plot in record.plots][-1] == "Missing wedge in slices"
    assert record.warnings == ()


def blurred(volumes):
    return gaussian_filter(volumes, (0, 1, 1, 1))


@pytest.mark.parametrize(
    ("attack", "short"),
    [
        (blurred, "curves_spectrum_dex"),
        (np.negative, "curves_skew"),
        (lambda volumes: np.rot90(volumes, axes=(2, 3)), "curves_sectors_dex"),
        (lambda volumes: np.roll(volumes, 10, axis=3), "curves_profile"),
        (lambda volumes: gaussian_filter(volumes, (0, 0, 1.5, 0)), "curves_sectors_dex"),
    ],
    ids=["blurred", "inverted", "turned by 90 degrees", "rolled", "blurred along y"],
)
def test_attacks_fall_short(real, attack, short):
    _, scores, verdict = judged(np.ascontiguousarray(attack(particles(60, seed=2))), real)
    assert grade(scores[short, None]) == "short"
    assert verdict.answer != "yes"


def test_wrong_labels_have_each_others_profiles(real):
    right, swapped = labels(60), labels(61)[1:]
    half = np.where(np.arange(60) < 30, right, swapped)
    one, two, three = (
        judged(particles(60, seed=2), real, names=names)[1]["curves_profile", None].value
        for names in (right, half, swapped)
    )
    assert one > two > three
    assert three < 0.9


def test_classes_count_as_in_the_real_curves(real):
    many = np.concatenate([particles(20, seed=3), particles(80, seed=4)[::2]])
    names = np.concatenate([labels(20), labels(80)[::2]])
    _, mixed, _ = judged(many, real, names=names)
    _, even, _ = judged(particles(40, seed=3), real)
    assert mixed["curves_skew", None].value == pytest.approx(even["curves_skew", None].value, abs=0.15)


def test_without_floors_halves_of_generated_volumes_stand_in_and_it_is_said(real):
    known = RealSlices(real.curves.model_copy(update={"floors": None}), None)
    record, scores, _ = judged(particles(16, seed=2), known)
    assert "no floors" in record.warnings[0]
    floor = scores["curves_spectrum_dex", None].real
    assert floor == pytest.approx(real.curves.floors["spectrum"], rel=0.5)  # halves of eight, not of sixteen


def test_classes_without_a_measured_profile_have_none(real):
    _, scores, _ = judged(particles(16, seed=2), real, names=np.array(["thyroglobulin"] * 16))
    assert scores["curves_profile", None].value is None
    assert "no common class" in scores["curves_profile", None].note
    assert scores["curves_spectrum_dex", None].value is not None
