"""Intervals by value, and their coverage of a known truth."""

import numpy as np
import pytest

from benchmarks.coverage_intervals import few_prompts_coverage
from rlhf.evaluation.stats.bootstrap import expanded_tail, jackknife, mean, rate, ratio


def test_mean_counts_every_response_once():
    """(1 + 0 + 0) / 3, not the mean 0.5 of the prompts' means 1 and 0."""
    estimate = mean([[1.0], [0.0, 0.0]])
    assert estimate.value == pytest.approx(1 / 3)
    assert (estimate.n, estimate.num_answers) == (2, 3)


def test_two_prompts_have_three_possible_resamples():
    """Prompts of mean 0 and 1 give draws 0, 0.5 and 1, the ends with chance 1/4 each."""
    estimate = mean([[0.0], [1.0]])
    assert (estimate.low, estimate.value, estimate.high) == (0.0, 0.5, 1.0)


def test_equal_prompts_have_an_interval_of_width_0():
    estimate = mean([[0.25, 0.75]] * 10)
    assert (estimate.low, estimate.value, estimate.high) == (0.5, 0.5, 0.5)


def test_prompts_without_responses_are_left_out():
    estimate = mean([[1.0], [], [1.0]])
    assert (estimate.value, estimate.n) == (1.0, 2)


def test_rate_of_0_or_1_has_an_interval_with_a_width():
    """Ten of ten: Wilson's interval ends at n / (n + 1.96²) = 10 / 13.84 = 0.7225; none of ten
    at 1 - that; for one prompt it is [0, 1]. In between it is the interval of the mean."""
    all_ones, all_zeros = rate([[1.0, 1.0]] * 10), rate([[0.0]] * 10)
    assert (all_ones.low, all_ones.high) == (pytest.approx(0.7225, abs=1e-4), 1.0)
    assert (all_zeros.low, all_zeros.high) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert (rate([[0.5]]).low, rate([[0.5]]).high) == (0.0, 1.0)
    values = [[0.0, 1.0], [1.0], [0.5]]
    assert rate(values) == mean(values)


def test_ratio_is_a_ratio_of_sums():
    """(1 + 1) / (1 + 3) = 0.5, where the mean of the ratios would be 2/3."""
    assert ratio([1.0, 1.0], [1.0, 3.0]).value == pytest.approx(0.5)


def test_same_seed_same_interval():
    values = [[float(i % 3)] for i in range(20)]
    assert mean(values, seed=1) == mean(values, seed=1)


@pytest.mark.parametrize("values", [[], [[]]])
def test_no_values_raise(values):
    with pytest.raises(ValueError, match="nothing to average"):
        mean(values)


def test_nan_raises():
    with pytest.raises(ValueError, match="not finite"):
        mean([[float("nan")]])


def test_jackknife_of_a_mean_is_students_t():
    """For a mean the jackknife gives s/sqrt(n): of 1, 2, 3 it is 1/sqrt(3); t of 2 degrees of
    freedom is 4.303."""
    estimate = jackknife(2.0, [2.5, 2.0, 1.5])
    assert estimate.se == pytest.approx(1 / np.sqrt(3))
    assert estimate.high - estimate.value == pytest.approx(4.3027 / np.sqrt(3), abs=1e-3)
    assert jackknife(1.0, [1.0]).low == 1.0


def test_quantiles_move_outwards_for_few_prompts():
    """t is 2.2622 of 9 degrees of freedom: Φ(-sqrt(10/9) · 2.2622) = Φ(-2.3845) = 0.00855."""
    assert expanded_tail(10) == pytest.approx(0.00855, abs=1e-5)
    assert expanded_tail(100_000) == pytest.approx(0.025, abs=1e-5)
    assert expanded_tail(1) == 0.025


def test_interval_of_normal_values_is_students_t():
    """Ten values: the resampled means are nearly normal, of the deviation s sqrt(9/10)/sqrt(10)."""
    values = np.array([-1.3, -1.0, -0.6, -0.4, -0.1, 0.1, 0.4, 0.6, 1.0, 1.3])
    estimate = mean([[value] for value in values], resamples=20_000)
    half = 2.2622 * values.std(ddof=1) / np.sqrt(10)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.06)


@pytest.mark.parametrize("prompts", [6, 10, 20])
def test_interval_of_few_prompts_covers(prompts):
    """Plain quantiles cover in 86, 91 and 93% of 2000 repetitions (docs/research/evaluation.md)."""
    expanded, plain = few_prompts_coverage(prompts, repetitions=1000)
    assert 0.92 <= expanded <= 0.975
    assert plain < expanded - 0.01


def _outcomes(rng):
    """100 prompts x 8 responses; a prompt's probability of a win is 0.05 or 0.95: truth 0.5."""
    chances = rng.choice([0.05, 0.95], size=100)
    return (rng.random((100, 8)) < chances[:, None]).astype(float)


def _coverage(estimate_of):
    rng = np.random.default_rng(7)
    estimates = [estimate_of(_outcomes(rng)) for _ in range(1000)]
    return np.mean([e.low <= 0.5 <= e.high for e in estimates])


def test_interval_has_its_nominal_coverage():
    coverage = _coverage(lambda outcomes: mean(outcomes.tolist(), resamples=500))
    assert 0.92 <= coverage <= 0.97


def test_resampling_responses_has_too_low_coverage():
    """The error that this module avoids: every response counts as a prompt."""
    rows = _coverage(lambda outcomes: mean(outcomes.reshape(-1, 1).tolist(), resamples=500))
    assert rows < 0.75
