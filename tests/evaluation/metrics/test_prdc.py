import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from frazil.evaluation.metrics.feature_distances import kth_distances, mean_interval, neighborhoods


def line(*values):
    return np.array(values, float)[:, None]


def means(real, generated, **options):
    return {name: values.mean() for name, values in neighborhoods(real, generated, **options).items()}


def test_an_outlier_lifts_precision_but_not_density():
    """Naeem et al. 2020, figure 2a: samples around a real outlier have precision 100 % and density 60 %."""
    real = line(0, 0.1, 0.2, 0.3, 0.4, 10)
    # four lie in the one ball of the outlier, which reaches to 0.2; the fifth in the balls of the five others
    generated = line(9, 9.5, 10.5, 11, 0.19)
    found = neighborhoods(real, generated, k=3)
    assert found["precision"].tolist() == [1] * 5
    assert found["density"] * 3 == pytest.approx([1, 1, 1, 1, 5])
    assert found["density"].mean() == pytest.approx(0.6)


def test_scattered_samples_have_recall_but_no_coverage():
    """Naeem et al. 2020, figure 2b: the balls of scattered samples hold the real ones, which are near none of them."""
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    generated = 10 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    real = 0.01 * np.random.default_rng(0).standard_normal((10, 2))
    found = means(real, generated, k=5)
    assert found["recall"] == 1
    assert found["coverage"] == found["precision"] == found["density"] == 0


def test_one_distribution_has_the_expected_density_and_coverage():
    """Naeem et al. 2020, lemmas 1 and 2: density 1; coverage 1 - (N-1)...(N-k) / ((M+N-1)...(M+N-k)), in any space."""
    n, m, k = 40, 30, 3
    drawn = []
    for trial in range(150):
        random = np.random.default_rng(trial)
        drawn.append(means(random.standard_normal((n, 4)), random.standard_normal((m, 4)), k=k))
    for name, expected in {
        "density": 1.0,
        "coverage": 1 - np.prod([(n - i) / (m + n - i) for i in range(1, k + 1)]),
    }.items():
        values = np.array([found[name] for found in drawn])
        assert abs(values.mean() - expected) < 3 * values.std() / np.sqrt(len(values))


def test_equal_sets_are_perfect():
    values = np.random.default_rng(0).standard_normal((50, 100)).astype(np.float32)
    assert means(values, values) == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}


def test_a_collapsed_set_loses_recall_and_coverage_alone():
    random = np.random.default_rng(0)
    real, fresh = random.standard_normal((2, 200, 3))
    collapsed = real[0] * 0 + 0.01 * random.standard_normal((200, 3))  # all at the center
    good, bad = means(real, fresh), means(real, collapsed)
    assert bad["recall"] < 0.05 < 0.8 < good["recall"]
    assert bad["coverage"] < 0.2 < 0.9 < good["coverage"]
    assert bad["precision"] == 1


def test_distances_to_neighbours_agree_with_scikit_learn():
    random = np.random.default_rng(0)
    features, references = random.standard_normal((30, 4)), random.standard_normal((20, 4))
    tree = NearestNeighbors(n_neighbors=5, algorithm="kd_tree")
    assert kth_distances(features) == pytest.approx(tree.fit(features).kneighbors()[0][:, -1])
    assert kth_distances(features, references) == pytest.approx(tree.fit(references).kneighbors(features)[0][:, -1])


def test_intervals_hold_their_means_and_come_from_the_generator():
    random = np.random.default_rng(0)
    found = neighborhoods(random.standard_normal((60, 3)), random.standard_normal((60, 3)) * 0.7)
    for name, values in found.items():
        low, high = mean_interval(values, np.random.default_rng(1))
        assert (low, high) == mean_interval(values, np.random.default_rng(1))
        mean = values.mean()
        assert low <= mean <= high
        if name != "density":  # a share: its spread is that of a binomial
            assert high - low == pytest.approx(2 * 1.96 * np.sqrt(mean * (1 - mean) / 60), abs=0.05)
