"""Draws with known probabilities."""

import numpy as np
import pytest

from rlhf.evaluation.stats.sampling_design import sampling_probabilities, systematic_sample


def test_probabilities_rise_with_uncertainty_and_add_up_to_the_budget():
    """Sizes 1, 1.25 and 1.5 of 3.75: 2 · 1/3.75 and so on."""
    probabilities = sampling_probabilities([0.0, 0.5, 1.0], 2)
    assert probabilities == pytest.approx([0.53333, 0.66667, 0.8], abs=1e-5)
    assert sum(probabilities) == pytest.approx(2.0)


def test_probability_above_one_is_shared_by_the_others():
    """Sizes 1.5 and nine of 1 with budget 8: 8 · 1.5/10.5 is above 1, so 7 are shared by nine."""
    probabilities = sampling_probabilities([1.0] + [0.0] * 9, 8)
    assert probabilities == pytest.approx([1.0] + [7 / 9] * 9)
    assert sampling_probabilities([0.3, 0.9], 5) == [1.0, 1.0]


def test_sample_has_its_size_and_probabilities():
    rng = np.random.default_rng(0)
    probabilities = sampling_probabilities(rng.random(40).tolist(), 12)
    draws = [systematic_sample(probabilities, seed=seed) for seed in range(3000)]
    assert {len(draw) for draw in draws} == {12}
    assert all(len(set(draw)) == 12 for draw in draws)
    shares = np.bincount(np.concatenate(draws), minlength=40) / 3000
    assert np.abs(shares - probabilities).max() < 5 * np.sqrt(0.25 / 3000)
    assert systematic_sample(probabilities, seed=7) == systematic_sample(probabilities, seed=7)


def test_bad_budget_or_uncertainty_raises():
    for uncertainty, budget in (([0.5], 0), ([1.5, 0.0], 1)):
        with pytest.raises(ValueError, match="budget"):
            sampling_probabilities(uncertainty, budget)
