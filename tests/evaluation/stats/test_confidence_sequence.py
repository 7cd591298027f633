"""Confidence sequences: the first bet by hand, and the error of looking all the time."""

import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.coverage_intervals import anytime_error
from rlhf.evaluation.stats.confidence_sequence import (
    anytime_mean,
    confidence_sequence,
    log_capital,
)


def test_first_bet():
    """λ = sqrt(2 log 40 / (1/4 · log 2)) = 6.5249, at most 1/2 over the mean.

    After a 1 the stake on "higher" is 1 + λ (1 - m): 1.5 at m = 0.5 (λ = 1), 5.5 at m = 0.1
    (λ = 5), 1 + 6.5249 · 0.99 at m = 0.01; it is half of the whole.
    """
    capital = log_capital(np.array([1.0]), np.array([0.5, 0.1, 0.01]))
    stakes = np.array([1.5, 5.5, 1 + 6.5249 * 0.99])
    np.testing.assert_allclose(capital[0], np.log(stakes / 2), atol=1e-4)


def test_second_bet_uses_the_variance_so_far():
    """After a 1 the mean is 3/4 and the variance (1/4 + 1/16)/2 = 5/32, so the second
    λ = sqrt(2 log 40 / (5/32 · 2 · log 3)) = 4.6361. At m = 0.05 both are below 10."""
    capital = log_capital(np.array([1.0, 0.0]), np.array([0.05]))
    first = 1 + 6.5249 * 0.95
    assert capital[1, 0] == pytest.approx(math.log(first * (1 - 4.6361 * 0.05) / 2), abs=1e-4)


def test_intervals_shrink_around_the_mean():
    rng = np.random.default_rng(0)
    values = (rng.random(2000) < 0.7).astype(float)
    intervals = confidence_sequence(values)
    assert intervals[0] == (0.0, 1.0)
    for (low, high), (next_low, next_high) in pairwise(intervals):
        assert low <= next_low <= next_high <= high
    low, high = intervals[-1]
    assert low < 0.7 < high
    assert high - low < 0.1  # 0.040 for one look
    last = anytime_mean(values)
    assert (last.low, last.high, last.n) == (low, high, 2000)


@pytest.mark.parametrize("truth", [0.5, 0.9])
def test_looking_after_every_label_errs_in_at_most_5_percent(truth):
    """A plain interval errs in half of the runs."""
    betting, plain = anytime_error(truth=truth, labels=500, repetitions=1000)
    assert betting <= 0.05
    assert plain > 0.3


def test_values_outside_0_and_1_raise():
    with pytest.raises(ValueError, match="outside"):
        confidence_sequence([0.5, 1.1])
    with pytest.raises(ValueError, match="no value"):
        anytime_mean([])
