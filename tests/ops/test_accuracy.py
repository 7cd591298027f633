"""The accuracy and its interval, against hand-worked numbers."""

import math

import pytest
import torch

from rlhf.ops.accuracy import pairs_in_order, share_with_interval


def test_accuracy_counts_ordered_pairs_only():
    """Ranks 1, 2, 2 and scores 1, 2, 0: 1>2 wrong, 1>0 right; the tie is no pair."""
    correct, pairs = pairs_in_order(
        torch.tensor([1.0, 2.0, 0.0]), torch.tensor([1, 2, 2]), torch.zeros(3, dtype=torch.long)
    )
    assert (correct.tolist(), pairs.tolist()) == ([1.0], [2.0])


def test_a_constant_model_is_right_half_the_time():
    correct, pairs = pairs_in_order(
        torch.zeros(4), torch.tensor([1, 2, 3, 4]), torch.zeros(4, dtype=torch.long)
    )
    assert (correct.tolist(), pairs.tolist()) == ([3.0], [6.0])


def test_interval_is_wilsons_for_single_pairs():
    """100 prompts of one pair, 80 right: variance 0.16 / 99, as certain as 99 flips.

    Middle (0.8 + 3.8415/198) / (1 + 3.8415/99) = 0.788794; half width
    1.959964 / 1.038803 * √(0.16/99 + 3.8415/39204) = 0.078115.
    """
    correct = torch.tensor([1.0] * 80 + [0.0] * 20)
    share, low, high = share_with_interval(correct, torch.ones(100))
    assert (share, low, high) == pytest.approx((0.8, 0.710679, 0.866909), abs=1e-5)


def test_interval_of_all_right_is_not_a_point():
    """20 of 20: Wilson's lower bound is 20 / (20 + 3.8415) = 0.838875."""
    found = share_with_interval(torch.ones(20), torch.ones(20))
    assert found == pytest.approx((1.0, 0.838875, 1.0), abs=1e-5)


def test_interval_does_not_shrink_where_pairs_of_a_prompt_agree():
    """Ten copies of each pair hold no more evidence: the interval must not shrink."""
    correct = torch.tensor([1.0] * 80 + [0.0] * 20)
    once = share_with_interval(correct, torch.ones(100))
    assert share_with_interval(correct * 10, torch.full((100,), 10.0)) == pytest.approx(once)


def test_no_pair_gives_nan():
    assert all(math.isnan(x) for x in share_with_interval(torch.zeros(1), torch.zeros(1)))
