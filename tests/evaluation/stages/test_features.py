"""Real ones are hollow or full particles in wedged, colored noise; every damage must move the numbers that should notice it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from frazil.evaluation.metrics.embeddings import HandcraftedEmbedding, RandomEmbedding, Remembered
from frazil.evaluation.stages import features as stage
from frazil.evaluation.stages.features import features
from frazil.evaluation.stages.material import Material
from frazil.evaluation.volumes import Sets, VolumeSet

EDGE = 16
CLASSES = ("full", "hollow")
HANDCRAFTED, RANDOM = Remembered(HandcraftedEmbedding()), Remembered(RandomEmbedding(channels=(4, 8)))
_KZ, _, _KX = np.meshgrid(*[np.fft.fftfreq(EDGE)] * 3, indexing="ij")


def scored(values):
    axes = (1, 2, 3)
    values = values - values.mean(axis=axes, keepdims=True)
    return (values / values.std(axis=axes, keepdims=True)).astype(np.float32)


def particles(count, seed):
    """Return `count` volumes of each class; size and depth of the particles vary."""
    random = np.random.default_rng(seed)
    distance = np.sqrt(sum(np.square(axis - EDGE // 2) for axis in np.indices((EDGE,) * 3)))
    values = []
    for label in CLASSES * count:
        radius, depth = random.uniform(3.5, 5), random.uniform(2, 3)
        shape = np.exp(-np.square(distance - radius) / 2) if label == "hollow" else distance < radius
        values.append(random.standard_normal(distance.shape) - depth * shape)
    spectrum = np.fft.fftn(gaussian_filter(values, (0, 0.6, 0.6, 0.6)), axes=(1, 2, 3))
    values = np.fft.ifftn(spectrum * (0.05 + (np.abs(_KZ) <= np.abs(_KX))), axes=(1, 2, 3)).real
    names = tuple(f"{seed} {row}" for row in range(2 * count))
    return VolumeSet(scored(values), np.array(CLASSES * count), names, 10.0)


HELD_OUT, TRAINING, FRESH = particles(40, 1), particles(100, 2), particles(40, 3)


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    """Intervals have tests of their own."""
    interval = stage.frechet_interval
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "frechet_interval", lambda *given: interval(*given, replicates=40))
        yield


@pytest.fixture(scope="module")
def good(few_resamples):
    return judged(FRESH)


def judged(generated, embedding=HANDCRAFTED):
    section = features(Material(Sets(generated, HELD_OUT, TRAINING, seed=5), embeddings={"own": embedding}))
    return {(score.name.removesuffix("_own"), score.label): score for score in section.scores}


def changed(volumes):
    return replace(FRESH, volumes=scored(volumes))


def collapsed():
    """Return eight good volumes, over and over, each time a little different."""
    rows = np.arange(80) % 8
    noise = np.random.default_rng(0).standard_normal(FRESH.volumes.shape)
    return VolumeSet(scored(FRESH.volumes[rows] + 0.02 * noise), FRESH.labels[rows], FRESH.names, 10.0)


@pytest.mark.parametrize("embedding", [HANDCRAFTED, RANDOM], ids=["handcrafted", "random"])
def test_equal_sets_have_no_distance_and_are_perfect(embedding):
    found = judged(HELD_OUT, embedding)
    for label in (None, *CLASSES):
        assert found["frechet", label].value == pytest.approx(0, abs=1e-6)
        assert found["kid", label].value < 0.01
        for name in ("precision", "recall", "density", "coverage"):
            assert found[name, label].value == 1


@pytest.mark.parametrize("embedding", [HANDCRAFTED, RANDOM], ids=["handcrafted", "random"])
def test_fresh_volumes_are_as_good_as_training_boxes_and_noise_is_far_from_both(embedding):
    found = judged(FRESH, embedding)
    assert len(found) == 6 * 3
    for (name, label), score in found.items():
        low, high = score.interval
        assert low <= score.value <= high
        assert low <= score.real_interval[1]
        assert high >= score.real_interval[0]
        assert score.count == (80 if label is None else 40)
        if name in ("frechet", "kid"):
            assert score.noise > 10 * max(high, score.real_interval[1])
        else:
            assert score.noise < 0.1


def test_shuffled_classes_worsen_the_classes_and_not_all_together(good):
    shuffled = replace(FRESH, labels=np.random.default_rng(0).permutation(FRESH.labels))
    bad = judged(shuffled)
    for name in ("frechet", "kid", "precision", "recall", "density", "coverage"):
        assert bad[name, None].value == pytest.approx(good[name, None].value, rel=1e-6)
        assert good[name, None].shuffled is None
    for label in CLASSES:
        for name in ("frechet", "kid"):
            assert bad[name, label].value > good[name, label].interval[1]
            assert bad[name, label].interval[0] > good[name, label].value
            assert good[name, label].shuffled > good[name, label].real_interval[1]
        for name in ("precision", "density"):
            assert bad[name, label].value < good[name, label].value - 0.2
            assert good[name, label].shuffled < good[name, label].real - 0.2
        # one half is of the right class still, and may lie in most balls
        assert bad["coverage", label].value < good["coverage", label].value
        # recall asks only whether real ones lie among them, and they do
        assert bad["recall", label].value > good["recall", label].value - 0.2


def test_a_collapsed_set_loses_variety_and_not_precision(good):
    bad = judged(collapsed())
    for name in ("recall", "coverage"):
        assert bad[name, None].value < 0.5 * good[name, None].value
    assert bad["precision", None].value >= good["precision", None].value - 0.1
    assert bad["frechet", None].value > good["frechet", None].value


@pytest.mark.parametrize("damage", ["blurred", "noised", "wedge turned"])
def test_damage_worsens_distances_and_precision(good, damage):
    values = {
        "blurred": lambda: gaussian_filter(FRESH.volumes, (0, 0.7, 0.7, 0.7)),
        "noised": lambda: FRESH.volumes + 0.5 * np.random.default_rng(0).standard_normal(FRESH.volumes.shape),
        "wedge turned": lambda: FRESH.volumes.transpose(0, 1, 3, 2),
    }[damage]()
    bad = judged(changed(values))
    for label in (None, *CLASSES):
        for name in ("frechet", "kid"):
            assert bad[name, label].interval[0] > 2 * good[name, label].interval[1]
        for name in ("precision", "density", "coverage"):
            assert bad[name, label].interval[1] < good[name, label].interval[0]


def test_typicality_is_one_for_real_ones_and_grows_with_damage():
    strange = FRESH.volumes.copy()
    strange[5] = scored(np.random.default_rng(0).standard_normal((1, EDGE, EDGE, EDGE)))[0]
    sets = Sets(replace(FRESH, volumes=strange), HELD_OUT, TRAINING, seed=5)
    found = features(Material(sets, embeddings={"random": RANDOM, "handcrafted": HANDCRAFTED})).per_sample["typicality"]
    assert len(found) == 80
    assert np.median(found) == pytest.approx(1, abs=0.1)
    assert np.argmax(found) == 5
    assert found[5] > 3


def test_typicality_is_taken_in_the_learned_embedding_where_there_is_one():
    def learned(volumes):
        return np.stack([volumes.mean(axis=(1, 2, 3)), volumes[:, 8, 8, 8]], axis=1)

    sets = Sets(FRESH, HELD_OUT, TRAINING, seed=5)
    alone, both = (
        features(Material(sets, embeddings=embeddings)).per_sample
        for embeddings in ({"learned": learned}, {"handcrafted": HANDCRAFTED, "learned": learned})
    )
    assert alone == both


def test_numbers_of_the_frechet_distance_allow_its_dimensions(good):
    assert "Over the 20 strongest" in good["frechet", None].note
    assert "Over the 10 strongest" in good["frechet", "full"].note
    assert "4 samples for each or more" in good["frechet", None].note
    assert "Handcrafted features: log power" in good["frechet", None].note
    assert "Few samples (40)" in good["kid", "hollow"].note


def test_too_few_volumes_are_not_measured_and_say_so():
    few = FRESH.subset([*range(0, 40, 2), *range(1, 13, 2)])  # 20 full, 6 hollow
    found = judged(few)
    score = found["coverage", "hollow"]
    assert score.value is score.interval is score.real is score.noise is score.shuffled is None
    assert score.note == "Not measured: 6 generated and held-out volumes can be compared, 10 are needed."
    assert found["frechet", "hollow"].note.endswith("8 are needed.")
    assert found["kid", "hollow"].value is not None
    assert found["coverage", "full"].count == 20
    assert found["coverage", None].count == 26


def test_the_larger_set_is_drawn_down_to_the_smaller_and_lone_classes_are_left_out():
    more = VolumeSet(
        np.concatenate([FRESH.volumes, TRAINING.volumes[:100]]),
        np.concatenate([FRESH.labels, np.where(np.arange(100) < 80, TRAINING.labels[:100], "other")]),
        FRESH.names + TRAINING.names[:100],
        10.0,
    )
    section = features(Material(Sets(more, HELD_OUT, TRAINING, seed=5), embeddings={"own": HANDCRAFTED}))
    found = {(score.name, score.label): score for score in section.scores}
    assert found["kid_own", None].count == 80
    assert found["kid_own", "full"].count == 40
    assert found["kid_own", "other"].value is None
    assert section.warnings == ("no held-out volumes of other: left out of all feature distances",)


def test_the_same_sets_give_the_same_numbers_and_progress_ends_at_one():
    told = []
    sets = Sets(FRESH, HELD_OUT, TRAINING, seed=5)
    first = features(Material(sets, embeddings={"own": HandcraftedEmbedding()}), told.append)
    again = features(Material(sets, embeddings={"own": HANDCRAFTED}))
    assert first == again
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 20
