"""Intervals by value, and their coverage against judges of known truth."""

import numpy as np
import pytest

from rlhf.evaluation.stats.bootstrap import jackknife, mean, rate, ratio


def test_mean_counts_every_answer_once():
    """(1 + 0 + 0) / 3, not the mean 0.5 of the prompts' means 1 and 0."""
    estimate = mean([[1.0], [0.0, 0.0]])
    assert estimate.value == pytest.approx(1 / 3)
    assert (estimate.n, estimate.num_answers) == (2, 3)


def test_two_prompts_have_three_possible_resamples():
    """Prompts of mean 0 and 1 give draws 0, 0.5 and 1, the ends with chance 1/4 each."""
    estimate = mean([[0.0], [1.0]])
    assert (estimate.low, estimate.value, estimate.high) == (0.0, 0.5, 1.0)


def test_identical_prompts_leave_no_doubt():
    estimate = mean([[0.25, 0.75]] * 10)
    assert (estimate.low, estimate.value, estimate.high) == (0.5, 0.5, 0.5)


def test_prompts_without_answers_are_left_out():
    estimate = mean([[1.0], [], [1.0]])
    assert (estimate.value, estimate.n) == (1.0, 2)


def test_a_rate_of_one_or_none_keeps_a_width():
    """Ten of ten: Wilson's interval ends at n / (n + 1.96²) = 10 / 13.84 = 0.7225; none of ten
    at 1 - that; of one prompt nothing is known. In between it is the mean's own interval."""
    every, none = rate([[1.0, 1.0]] * 10), rate([[0.0]] * 10)
    assert (every.low, every.high) == (pytest.approx(0.7225, abs=1e-4), 1.0)
    assert (none.low, none.high) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert (rate([[0.5]]).low, rate([[0.5]]).high) == (0.0, 1.0)
    values = [[0.0, 1.0], [1.0], [0.5]]
    assert rate(values) == mean(values)


def test_ratio_is_of_sums_not_of_ratios():
    """(1 + 1) / (1 + 3) = 0.5, where the mean of the ratios would be 2/3."""
    assert ratio([1.0, 1.0], [1.0, 3.0]).value == pytest.approx(0.5)


def test_same_seed_same_interval():
    values = [[float(i % 3)] for i in range(20)]
    assert mean(values, seed=1) == mean(values, seed=1)


@pytest.mark.parametrize("values", [[], [[]]])
def test_nothing_to_average_is_an_error(values):
    with pytest.raises(ValueError, match="nothing to average"):
        mean(values)


def test_a_nan_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        mean([[float("nan")]])


def test_jackknife_of_a_mean_is_its_standard_error():
    """For a mean the jackknife gives s/sqrt(n): of 1, 2, 3 it is 1/sqrt(3)."""
    estimate = jackknife(2.0, [2.5, 2.0, 1.5])
    assert estimate.high - estimate.value == pytest.approx(1.96 / np.sqrt(3))


def _outcomes(rng):
    """100 prompts x 8 answers; a prompt's own chance of a win is 0.05 or 0.95: truth 0.5."""
    chances = rng.choice([0.05, 0.95], size=100)
    return (rng.random((100, 8)) < chances[:, None]).astype(float)


def _coverage(estimate_of):
    rng = np.random.default_rng(7)
    estimates = [estimate_of(_outcomes(rng)) for _ in range(1000)]
    return np.mean([e.low <= 0.5 <= e.high for e in estimates])


def test_interval_covers_the_truth_as_often_as_it_says():
    coverage = _coverage(lambda outcomes: mean(outcomes.tolist(), resamples=500))
    assert 0.92 <= coverage <= 0.97


def test_resampling_answers_would_cover_far_too_seldom():
    """The mistake that this module is there to avoid: every answer a prompt of its own."""
    rows = _coverage(lambda outcomes: mean(outcomes.reshape(-1, 1).tolist(), resamples=500))
    assert rows < 0.75
