import numpy as np
import pytest
import scipy.stats

from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.nearness import rank_test


def draw(count, *path, shift=0.0) -> np.ndarray:
    return numpy_generator(0, "ranks", *path).standard_normal(count) + shift


def bootstrap() -> np.random.Generator:
    return numpy_generator(0, "ranks bootstrap")


def test_one_stratum_is_the_mann_whitney_test():
    values, reference = draw(40, "values", shift=-0.4), draw(60, "reference")
    p, chance = rank_test([(values, reference)], bootstrap())
    expected = scipy.stats.mannwhitneyu(
        values, reference, alternative="less", method="asymptotic", use_continuity=False
    )
    assert p == pytest.approx(expected.pvalue, rel=1e-9)
    assert chance.value == pytest.approx(1 - expected.statistic / (40 * 60))
    assert chance.interval[0] < chance.value < chance.interval[1]


def test_chance_of_shifted_gaussians_is_the_closed_form_and_the_interval_covers_it():
    truth = scipy.stats.norm.cdf(0.5 / np.sqrt(2))
    inside = 0
    for repeat in range(40):
        strata = [(draw(60, "a", repeat, shift=-0.5), draw(80, "b", repeat))]
        low, high = rank_test(strata, bootstrap())[1].interval
        inside += low <= truth <= high
    assert inside >= 34  # 95 % of 40 is 38; 33 or fewer comes about once in 150 times


def test_classes_in_other_numbers_are_no_difference():
    strata = [(draw(90, "low", shift=-9), draw(10, "low too", shift=-9)), (draw(10, "high"), draw(90, "high too"))]
    assert 0.02 < rank_test(strata, bootstrap())[0] < 0.98
    pooled = tuple(np.concatenate(side) for side in zip(*strata, strict=True))
    assert rank_test([pooled], bootstrap())[0] < 1e-9  # what would go wrong without strata


def test_ties_count_half():
    same = np.zeros(10)
    p, chance = rank_test([(same, same)], bootstrap())
    assert (p, chance.value) == (0.5, 0.5)
    assert chance.interval == pytest.approx((0.5, 0.5))


def test_p_is_uniform_without_a_difference():
    found = [
        rank_test([(draw(20, "a", kind, repeat), draw(30, "b", kind, repeat)) for kind in "xy"], bootstrap())[0]
        for repeat in range(150)
    ]
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01
