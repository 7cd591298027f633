"""Win rates by value."""

import numpy as np
import pytest

from rlhf.evaluation.stats.win_rate import prompt_wins, win_rate


def test_every_response_is_compared_with_every_baseline_response():
    """3 beats 1 and ties 3; 1 ties 1 and loses to 3: (1 + 1/2 + 1/2 + 0) / 4."""
    assert prompt_wins([3.0, 1.0], [1.0, 3.0]) == 0.5
    assert prompt_wins([2.0], [1.0, 3.0, 2.0]) == pytest.approx((1 + 0 + 0.5) / 3)


def test_swapped_sides_give_the_complement():
    rng = np.random.default_rng(0)
    scores, baseline = rng.normal(size=(20, 4)).tolist(), rng.normal(size=(20, 3)).tolist()
    forth, back = win_rate(scores, baseline), win_rate(baseline, scores)
    assert forth.value + back.value == pytest.approx(1.0)


def test_win_rate_of_a_model_against_itself_is_half():
    scores = [[1.0, 2.0], [5.0, 5.0]]
    estimate = win_rate(scores, scores)
    assert (estimate.low, estimate.value, estimate.high) == (0.5, 0.5, 0.5)


def test_win_rate_of_1_has_an_interval_with_a_width():
    """Three of three prompts won are no certainty: Wilson's lower end is 3 / (3 + 1.96²)."""
    estimate = win_rate([[1.0]] * 3, [[0.0]] * 3)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(3 / (3 + 1.96**2), abs=1e-4)


def test_prompts_have_equal_weight():
    estimate = win_rate([[1.0], [0.0, 0.0, 0.0]], [[0.0], [1.0]])
    assert (estimate.value, estimate.n) == (0.5, 2)


def test_all_pairs_have_less_variance_than_disjoint_pairs():
    """Same mean over repeats, smaller spread: what the K x K comparison is for."""
    rng = np.random.default_rng(3)
    pairs, paired = [], []
    for _ in range(300):
        scores, baseline = rng.normal(0.5, 1, size=4), rng.normal(size=4)
        pairs.append(prompt_wins(scores.tolist(), baseline.tolist()))
        paired.append(np.mean(scores > baseline))
    assert np.mean(pairs) == pytest.approx(np.mean(paired), abs=0.03)
    assert np.std(pairs) < np.std(paired)


def test_different_numbers_of_prompts_raise():
    with pytest.raises(ValueError, match="2 prompts"):
        win_rate([[1.0], [1.0]], [[1.0]])
