import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from frazil.evaluation.stages.diversity import diversity, gaussian_kernel, vendi_interval, vendi_score
from frazil.evaluation.stages.material import Material, ignore
from frazil.evaluation.volumes import Sets, VolumeSet

EDGE = 12


def smooth(count, seed, classes=("a", "b")):
    """Return smooth random volumes, z-scored."""
    random = np.random.default_rng(seed)
    values = gaussian_filter(random.standard_normal((count, EDGE, EDGE, EDGE)), (0, 1.5, 1.5, 1.5))
    values = (values - values.mean(axis=(1, 2, 3), keepdims=True)) / values.std(axis=(1, 2, 3), keepdims=True)
    labels = np.array([classes[row % len(classes)] for row in range(count)])
    return VolumeSet(values.astype(np.float32), labels, tuple(f"{seed} {row}" for row in range(count)), 10.0)


def corner(volumes):
    """A small honest embedding: eight means."""
    return volumes.reshape(len(volumes), 2, 6, 2, 6, 2, 6).mean(axis=(2, 4, 6)).reshape(len(volumes), 8)


def scores(generated, on_step=ignore):
    sets = Sets(generated, smooth(30, 1), smooth(60, 2), seed=3)
    section = diversity(Material(sets, embeddings={"corner": corner}), on_step)
    return {(score.name, score.label): score for score in section.scores}


def collapsed(count):
    """Return one volume of each class again and again, with a little noise."""
    base, noise = smooth(2, 5), smooth(count, 6)
    values = base.volumes[np.arange(count) % 2] + 0.05 * noise.volumes
    return VolumeSet(values.astype(np.float32), noise.labels, noise.names, 10.0)


def test_orthogonal_features_count_each_and_equal_ones_count_once():
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.ones((7, 7))) == pytest.approx(1)
    features = np.linalg.qr(np.random.default_rng(0).standard_normal((9, 9)))[0][:5]
    assert vendi_score(features @ features.T) == pytest.approx(5)


def test_groups_of_equal_samples_count_by_the_entropy_of_their_sizes():
    group = np.array([0, 0, 0, 1])
    kernel = (group[:, None] == group).astype(float)
    assert vendi_score(kernel) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    # counted, the same samples say the same
    assert vendi_score(np.eye(2), np.array([3, 1])) == pytest.approx(vendi_score(kernel))
    assert vendi_score(np.eye(3), np.array([2, 0, 2])) == pytest.approx(2)


def test_the_gaussian_kernel_goes_from_all_alike_to_all_different_and_does_not_see_where_samples_lie():
    features = np.random.default_rng(0).standard_normal((20, 4))
    found = [vendi_score(gaussian_kernel(features, width)) for width in (1e4, 1, 1e-3)]
    assert found[0] == pytest.approx(1, abs=1e-3)
    assert found[2] == pytest.approx(20)
    assert found[0] < found[1] < found[2]
    assert vendi_score(gaussian_kernel(features + 50, 1)) == pytest.approx(found[1])
    assert gaussian_kernel(np.zeros((3, 2)), 0.0) == pytest.approx(np.ones((3, 3)))


def test_the_interval_holds_the_value_and_stays_possible():
    kernel = gaussian_kernel(np.random.default_rng(0).standard_normal((30, 3)), 1.0)
    low, high = vendi_interval(kernel, np.random.default_rng(1))
    assert 1 <= low < vendi_score(kernel) < high <= 30
    assert (low, high) == vendi_interval(kernel, np.random.default_rng(1))
    assert vendi_interval(np.eye(6), np.random.default_rng(1))[1] == 6


def test_fresh_samples_are_as_varied_as_real_ones():
    found = scores(smooth(40, 9))
    assert [key for key in found if key[0] == "ms_ssim"] == [("ms_ssim", label) for label in (None, "a", "b")]
    for score in found.values():
        low, high = score.interval
        assert low <= score.value <= high
        assert score.better == "as real"
        assert score.question == "varied"
        real_low, real_high = score.real_interval
        assert low < real_high
        assert real_low < high
    assert found["ms_ssim", None].noise < 0.1
    assert found["ms_ssim", None].value == pytest.approx(np.mean([found["ms_ssim", label].value for label in "ab"]))
    assert found["ms_ssim", None].count == 40
    assert "80 pairs" in found["ms_ssim", None].note
    assert "among 20" in found["vendi_corner", "a"].note


def test_a_collapsed_set_is_more_alike_and_holds_fewer_different_volumes():
    found = scores(collapsed(40))
    for label in (None, "a", "b"):
        assert found["ms_ssim", label].interval[0] > 0.9 > 0.5 > found["ms_ssim", label].real_interval[1]
        assert found["vendi_corner", label].interval[1] < found["vendi_corner", label].real_interval[0]
    assert found["vendi_corner", "a"].value == pytest.approx(1, abs=0.1)
    assert found["vendi_corner", None].value == pytest.approx(2, abs=1)


def test_a_doubled_set_holds_half_as_many_different_volumes():
    once, twice = smooth(40, 9), smooth(40, 9)
    rows = np.r_[0:10, 0:10, 20:30, 20:30]
    twice = twice.subset(rows)
    assert sorted(twice.labels) == sorted(once.labels)
    found, doubled = (scores(one)["vendi_corner", None] for one in (once, twice))
    assert doubled.value < 0.75 * found.value
    assert doubled.interval[1] < found.interval[0]


def test_a_class_of_few_volumes_is_not_measured_and_says_so():
    few = smooth(20, 9).subset([0, 2, 4, 6, 8, 10, 12, 14, 1, 3])
    found = scores(few)
    for name, needed in (("ms_ssim", "5 of a class"), ("vendi_corner", "5 are needed")):
        score = found[name, "b"]
        assert score.value is score.interval is None
        assert score.note.startswith("Not measured: 2 generated")
        assert needed in score.note
        assert found[name, "a"].value is not None
        assert found[name, None].value is not None
    # one class alone carries the mean
    assert found["ms_ssim", None].value == found["ms_ssim", "a"].value


def test_the_same_sets_give_the_same_numbers_and_progress_ends_at_one():
    told = []
    assert scores(smooth(20, 9), told.append) == scores(smooth(20, 9))
    assert told == sorted(told)
    assert told[-1] == 1.0
