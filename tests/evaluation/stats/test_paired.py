"""The paired difference: values, its interval against exact ones, coverage."""

import math

import numpy as np
import pytest
from scipy.stats import t

from rlhf.evaluation.stats.paired import paired_difference


def one_each(values):
    return [[float(value)] for value in values]


def test_unchanged_prompts_have_no_difference():
    values = [[1.0, 0.0], [], [0.3]]
    estimate = paired_difference(values, values)
    assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)
    assert estimate.n == 2


def test_interval_is_that_of_bonett_and_price():
    """Of 60 prompts 6 fell from 1 to 0 and none rose: p12 = 7/62, p21 = 1/62, variance
    (8/62 - (6/62)^2) / 62; with Student's t of 61 degrees of freedom."""
    new, old = one_each([0] * 6 + [1] * 54), one_each([1] * 60)
    estimate = paired_difference(new, old)
    centre = -6 / 62
    half = t.ppf(0.975, 61) * math.sqrt((8 / 62 - centre**2) / 62)
    assert estimate.value == pytest.approx(-0.1)
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half))
    assert estimate.high < 0


@pytest.mark.parametrize(("falls", "is_significant"), [(3, False), (5, False), (7, True)])
def test_few_falls_are_chance(falls, is_significant):
    """The exact test of equal chances to rise and to fall has p = 2 / 2^falls: ¼, 0.06, 0.016."""
    old = one_each([1] * 40)
    estimate = paired_difference(one_each([0] * falls + [1] * (40 - falls)), old)
    assert (estimate.high < 0) == is_significant


def test_two_prompts_that_both_fell_are_not_conclusive():
    estimate = paired_difference(one_each([0, 0]), one_each([1, 1]))
    assert estimate.value == -1.0
    assert estimate.high > 0


def test_means_over_different_numbers_of_values():
    """(1 + 0 + 1)/3 - (1 + 1)/2: the second prompt has no value before."""
    estimate = paired_difference([[1.0, 0.0], [1.0]], [[1.0, 1.0], []])
    assert estimate.value == pytest.approx(2 / 3 - 1)
    assert paired_difference([[], []], [[1.0], [1.0]]) is None


def test_coverage_of_paired_rates_and_of_a_conditional_mean():
    """Pairs share half of their luck. The conditional mean drops prompts by each model alone."""
    rng = np.random.default_rng(0)
    covered = {"rates": 0, "conditional": 0}
    repetitions = 600
    for _ in range(repetitions):
        shared = rng.random(60)
        own = rng.random((2, 60))
        luck = np.where(rng.random(60) < 0.5, shared, own)
        new, old = (luck[0] < 0.7).astype(float), (luck[1] < 0.8).astype(float)
        rates = paired_difference(one_each(new), one_each(old))
        covered["rates"] += rates.low <= -0.1 <= rates.high
        kept = rng.random((2, 60)) < 0.6
        some = [
            [[float(value)] if keep else [] for value, keep in zip(values, keeps, strict=True)]
            for values, keeps in zip((new, old), kept, strict=True)
        ]
        conditional = paired_difference(*some)
        covered["conditional"] += conditional.low <= -0.1 <= conditional.high
    for name, count in covered.items():
        assert 0.935 <= count / repetitions <= 0.985, name
