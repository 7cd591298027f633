"""Means over seeds and prompts: literal tables, coverage, one seed."""

import math

import numpy as np
import pytest

from rlhf.evaluation.stats.crossed import crossed_mean


def test_two_seeds_and_four_prompts():
    """Seeds add 0 or 2, prompts -1 or 1: MS_a = 4 (1 + 1)/1 = 8, MS_b = 2 · 4/3 = 8/3, MS_e = 0.

    Variance (8 + 8/3)/8 = 4/3. Degrees of freedom (32/3)² / (8²/1 + (8/3)²/3) = 1.7143, whose
    t(0.975) is 5.0685; half width 5.0685 √(4/3) = 5.8526.
    """
    prompts = np.array([[-1.0, -1.0, 1.0, 1.0]])
    estimate = crossed_mean(np.array([[0.0], [2.0]]) + prompts)
    assert (estimate.value, estimate.n, estimate.num_answers) == (1.0, 4, 8)
    assert estimate.se == pytest.approx(math.sqrt(4 / 3))
    assert estimate.high - 1.0 == pytest.approx(5.8526, abs=1e-4)
    assert estimate.low == pytest.approx(2.0 - estimate.high)


def test_two_seeds_detect_little():
    """The table above: t(0.8) is 1.1056 with 1.7143 degrees of freedom, so the detectable effect
    is (5.0685 + 1.1056) √(4/3) = 7.1293; 2.80 standard errors would be inside of the interval."""
    table = np.array([[0.0], [2.0]]) + np.array([[-1.0, -1.0, 1.0, 1.0]])
    assert crossed_mean(table).mde == pytest.approx(7.1293, abs=1e-3)
    wide = crossed_mean(table, level=0.99)
    assert wide.mde > wide.high - wide.value


def test_one_seed_is_the_interval_over_prompts():
    """0, 1, 1, 0: sample variance 1/3, over 4 prompts 1/12; t(0.975; 3) = 3.18245."""
    estimate = crossed_mean(np.array([[0.0, 1.0, 1.0, 0.0]]))
    assert estimate.se == pytest.approx(math.sqrt(1 / 12))
    assert estimate.high == pytest.approx(0.5 + 3.18245 * math.sqrt(1 / 12), abs=1e-5)


def test_spread_between_prompts_below_the_noise_is_left_out():
    """Both prompts have the mean ½: MS_b = 0, so the seeds alone count, with 1 degree of freedom.

    MS_a = 2 (¼ + ¼)/1 = 1 for seed means 0 and 1; variance 1/4; t(0.975; 1) = 12.7062.
    """
    estimate = crossed_mean(np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert estimate.se == pytest.approx(0.5)
    assert estimate.high == pytest.approx(0.5 + 12.7062 * 0.5, abs=1e-3)


def test_equal_means_of_seeds_leave_the_interval_over_prompts():
    """Seed means are equal and MS_b = 2 (1/16 + 1/16)/1 = ¼ is below MS_e: without a floor, 0.

    Variance ¼ / 4; t(0.975; 1) = 12.7062.
    """
    estimate = crossed_mean(np.array([[0.0, 1.5], [1.0, 0.5]]))
    assert estimate.se == pytest.approx(0.25)
    assert estimate.high - estimate.value == pytest.approx(12.7062 * 0.25, abs=1e-3)


def test_constant_table_has_no_width():
    estimate = crossed_mean(np.full((3, 5), 0.25))
    assert (estimate.low, estimate.value, estimate.high) == (0.25, 0.25, 0.25)


def test_level_widens_the_interval():
    table = np.random.default_rng(0).normal(size=(3, 40))
    narrow, wide = crossed_mean(table), crossed_mean(table, level=0.99)
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_interval_covers_the_mean_of_the_method(seeds):
    """95% for noise of prompts, of seeds and of both; intervals over prompts alone cover far less.

    Standard deviations 0.3 (prompts), 0.05 (seeds), 0.2 (rest), 80 prompts, 1,000 repetitions; the
    standard error of the coverage is 0.7%.
    """
    rng = np.random.default_rng(seeds)
    covered = alone = 0
    for _ in range(1000):
        table = 0.05 * rng.normal(size=(seeds, 1)) + 0.3 * rng.normal(size=(1, 80))
        table = table + 0.2 * rng.normal(size=(seeds, 80))
        estimate = crossed_mean(table)
        covered += estimate.low <= 0 <= estimate.high
        first = crossed_mean(table[:1])
        alone += first.low <= 0 <= first.high
    assert 930 <= covered <= 985
    assert alone < 900


@pytest.mark.parametrize("table", [np.zeros((2, 1)), np.array([[0.0, np.nan]])])
def test_too_few_prompts_or_nan_raises(table):
    with pytest.raises(ValueError, match="table"):
        crossed_mean(table)
