"""The accuracy and its interval, against hand-worked numbers."""

import math

import pytest
import torch

from rlhf.ops.accuracy import pairs_in_order, preferences_in_order, share_with_interval


def test_accuracy_counts_ordered_pairs_only():
    """Ranks 1, 2, 2 and scores 1, 2, 0: 1>2 wrong, 1>0 right; the tie is no pair."""
    correct, pairs = pairs_in_order(
        torch.tensor([1.0, 2.0, 0.0]), torch.tensor([1, 2, 2]), torch.zeros(3, dtype=torch.long)
    )
    assert (correct.tolist(), pairs.tolist()) == ([1.0], [2.0])


def test_pair_on_which_people_split_counts_in_part():
    """70% prefer the first, which scores higher; 90% prefer the third to the fourth, which is
    scored the other way: 0.7 + 0.1 of two pairs. Equal scores are one half."""
    preferred = torch.zeros(4, 4)
    preferred[0, 1], preferred[1, 0] = 0.7, 0.3
    preferred[2, 3], preferred[3, 2] = 0.9, 0.1
    groups = torch.zeros(4, dtype=torch.long)
    correct, pairs = preferences_in_order(torch.tensor([2.0, 1.0, 0.0, 3.0]), preferred, groups)
    assert (correct.item(), pairs.item()) == (pytest.approx(0.8), pytest.approx(2.0))
    assert preferences_in_order(torch.zeros(4), preferred, groups)[0].item() == pytest.approx(1.0)


def test_constant_model_has_accuracy_one_half():
    correct, pairs = pairs_in_order(
        torch.zeros(4), torch.tensor([1, 2, 3, 4]), torch.zeros(4, dtype=torch.long)
    )
    assert (correct.tolist(), pairs.tolist()) == ([3.0], [6.0])


def test_interval_of_single_pairs_is_wilson():
    """100 prompts of one pair, 80 right: variance 0.16 / 99, as certain as 99 flips.

    Middle (0.8 + 3.8415/198) / (1 + 3.8415/99) = 0.788794; half width
    1.959964 / 1.038803 * √(0.16/99 + 3.8415/39204) = 0.078115.
    """
    correct = torch.tensor([1.0] * 80 + [0.0] * 20)
    share, low, high = share_with_interval(correct, torch.ones(100))
    assert (share, low, high) == pytest.approx((0.8, 0.710679, 0.866909), abs=1e-5)


def test_interval_of_accuracy_one_has_a_width():
    """20 of 20: Wilson's lower bound is 20 / (20 + 3.8415) = 0.838875."""
    interval = share_with_interval(torch.ones(20), torch.ones(20))
    assert interval == pytest.approx((1.0, 0.838875, 1.0), abs=1e-5)


def test_agreeing_pairs_of_a_prompt_do_not_narrow_interval():
    """Ten copies of each pair hold no more evidence: the interval must not shrink. It grows by
    the 1% by which Student's t of 99 degrees of freedom is above the normal's 1.96."""
    correct = torch.tensor([1.0] * 80 + [0.0] * 20)
    _, low, high = share_with_interval(correct, torch.ones(100))
    _, below, above = share_with_interval(correct * 10, torch.full((100,), 10.0))
    assert below < low
    assert above > high
    assert above - below == pytest.approx(high - low, rel=0.015)


def test_few_prompts_with_many_pairs_use_students_t():
    """Right 5, 3, 4, 6, 2 of 6: share 2/3, residuals 1, -1, 0, 2, -2, variance 5/4 * 10 / 30² =
    1/72, so (2/9) / (1/72) = 16 flips; t of 4 degrees of freedom is 2.776445.

    Middle (2/3 + 7.708647/32) / (1 + 7.708647/16) = 0.612477; half width
    2.776445 / 1.481790 * √(0.222222/16 + 7.708647/1024) = 0.274208.
    """
    interval = share_with_interval(torch.tensor([5.0, 3.0, 4.0, 6.0, 2.0]), torch.full((5,), 6.0))
    assert interval == pytest.approx((2 / 3, 0.338268, 0.886685), abs=1e-6)


def test_pairs_bound_the_effective_sample_size():
    """2 of 3 in seven prompts and 1 of 3 in one: as even as that is chance, not 135 flips' worth.

    24 flips, t of 7 degrees of freedom 2.364624: (0.625 + 5.591448/48) / (1 + 5.591448/24) =
    0.601381 ∓ 2.364624 / 1.232977 * √(0.234375/24 + 5.591448/2304) = 0.211764.
    """
    interval = share_with_interval(torch.tensor([2.0] * 7 + [1.0]), torch.full((8,), 3.0))
    assert interval == pytest.approx((0.625, 0.389616, 0.813145), abs=1e-6)


def test_two_prompts_use_the_exact_quantile():
    """Right 3 and 2 of 4: share 5/8, variance 2/1 * 2 * (1/2)² / 8² = 1/64. That is worth 15
    flips, but there are 8 pairs; t of 1 degree of freedom is 12.706205.

    Middle (5/8 + 161.447639/16) / (1 + 161.447639/8) = 0.505902; half width
    12.706205 / 21.180955 * √(0.234375/8 + 161.447639/256) = 0.487334.
    """
    interval = share_with_interval(torch.tensor([3.0, 2.0]), torch.full((2,), 4.0))
    assert interval == pytest.approx((0.625, 0.018568, 0.993235), abs=1e-6)


@pytest.mark.parametrize("prompts", [3, 8, 30])
def test_coin_exceeds_one_half_in_one_of_forty_draws(prompts):
    """Rankings of 4 by chance: the lower end above 0.5 would let it pass; at most 2.5%, ±1%."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(prompts).repeat_interleave(4)
    passed = 0
    for _ in range(1000):
        scores = torch.rand(4 * prompts, generator=generator)
        ranks = torch.rand(4 * prompts, generator=generator).argsort()
        passed += share_with_interval(*pairs_in_order(scores, ranks, groups))[1] > 0.5
    assert passed <= 35


def test_no_pair_gives_nan():
    assert all(math.isnan(x) for x in share_with_interval(torch.zeros(1), torch.zeros(1)))
