"""Weighted sums of shares: values, coverage of intervals, degenerate cases."""

import numpy as np
import pytest

from rlhf.evaluation.stats.composite import share_of, term, weighted_sum


def test_terms_of_two_strata_are_weighted():
    """0.5 * (2/3) + 0.5 * 0: three values of two prompts, and one prompt of another stratum."""
    terms = [
        term(0.5, "a", [("p", 1.0), ("p", 0.0), ("q", 1.0)]),
        term(0.5, "b", [("r", 0.0)]),
    ]
    estimate = weighted_sum(terms)
    assert estimate.value == pytest.approx(1 / 3)
    assert estimate.n == 3


def test_term_without_a_prompt_has_no_value():
    assert weighted_sum([term(1.0, "a", [("p", 1.0), ("q", 0.0)]), term(1.0, "b", [])]) is None
    assert weighted_sum([term(1.0, "a", [("p", 1.0)])]) is None
    assert share_of([("p", 1.0), ("p", 0.0)]) is None


def test_terms_of_one_stratum_share_resamples():
    """x - x is 0 in every resample; independent resamples would give it a width."""
    rng = np.random.default_rng(0)
    values = [(str(n), float(value)) for n, value in enumerate(rng.random(50))]
    estimate = weighted_sum([term(1.0, "a", values), term(-1.0, "a", values)])
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((0.0, 0.0, 0.0))
    apart = weighted_sum([term(1.0, "a", values), term(-1.0, "b", values)])
    assert apart.se > 0.05


def test_perfect_accuracy_is_not_certain():
    """Wilson's interval of 20 successes of 20 ends at 0.84 (with t of 19 degrees, lower)."""
    estimate = weighted_sum([term(1.0, "a", [(str(n), 1.0) for n in range(20)])])
    assert estimate.high == 1.0
    assert 0.8 < estimate.low < 0.85
    assert estimate.mde == pytest.approx(2.8016 * (1 - estimate.low) / 3.92, rel=1e-3)


def test_perfect_small_subset_stays_uncertain_next_to_a_large_one():
    """Weights of ½ of 2 and of 1000 prompts: 1/(½²/2 + ½²/1000) = 7.984 flips, and the lower end
    of Wilson's interval of so many heads is 1/(1 + 1.96²/7.984) = 0.675."""
    sizes = {"a": 2, "b": 1000}
    terms = [term(0.5, name, [(str(n), 1.0) for n in range(size)]) for name, size in sizes.items()]
    estimate = weighted_sum(terms)
    assert (estimate.low, estimate.high) == pytest.approx((0.6752, 1.0), abs=1e-4)


def test_sum_of_weights_above_1_has_an_interval_with_a_width():
    """Weights of 1.01, as of Ties: 1.01 · 1/(1 + 1.96²/10) = 0.730 for ten prompts."""
    values = [(str(n), 1.0) for n in range(10)]
    estimate = weighted_sum([term(1.0, "Ties", values), term(0.01, "Ties", values)])
    assert (estimate.value, estimate.high) == pytest.approx((1.01, 1.01))
    assert estimate.low == pytest.approx(0.7297, abs=1e-4)


def test_share_detects_by_the_quantile_of_its_interval():
    """Five prompts of six pairs: Student's t with four degrees of freedom, 2.7764 and 0.9410. Of
    one pair a prompt the interval is the normal's, 1.9600 and 0.8416."""
    several = share_of(
        (str(n), float(k < right)) for n, right in enumerate([5, 3, 4, 6, 2]) for k in range(6)
    )
    half = (several.high - several.low) / 2
    assert several.mde == pytest.approx(half * (2.7764 + 0.9410) / 2.7764, rel=1e-4)
    single = share_of((str(n), float(n < 3)) for n in range(5))
    half = (single.high - single.low) / 2
    assert single.mde == pytest.approx(half * 2.8016 / 1.9600, rel=1e-4)


def test_interval_of_a_total_covers_its_truth():
    """Two subsets of 60 and 30 prompts with accuracies 0.8 and 0.6, the mean of which is 0.7."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        subsets = {"a": rng.random(60) < 0.8, "b": rng.random(30) < 0.6}
        terms = [
            term(0.5, name, [(str(n), float(right)) for n, right in enumerate(values)])
            for name, values in subsets.items()
        ]
        estimate = weighted_sum(terms, resamples=500)
        covered += estimate.low <= 0.7 <= estimate.high
    assert 0.91 <= covered / 400 <= 0.98
