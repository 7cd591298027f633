"""The ranking loss and the accuracy, against hand-worked numbers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from rlhf.ops.ranking import pairs_in_order, ranking_loss, share_with_interval


def one(values, ranks, **keys):
    """The loss of a single prompt."""
    groups = torch.zeros(len(ranks), dtype=torch.long)
    return ranking_loss(torch.tensor(values), torch.tensor(ranks), groups, **keys).item()


def test_one_pair_is_bradley_terry():
    """-log σ(2 - 0.5) = log(1 + e^-1.5) = 0.201413."""
    assert one([2.0, 0.5], [1, 2]) == pytest.approx(0.201413, abs=1e-6)


def test_order_of_the_answers_does_not_matter():
    assert one([0.5, 2.0], [2, 1]) == pytest.approx(0.201413, abs=1e-6)


def test_three_answers_are_the_mean_of_their_three_pairs():
    """d = 1, 3, 2: (0.313262 + 0.048587 + 0.126928) / 3 = 0.162926."""
    assert one([3.0, 2.0, 0.0], [1, 2, 3]) == pytest.approx(0.162926, abs=1e-6)


def test_ties_are_left_out():
    """Ranks 1, 2, 2: only d = 1 and d = 3 count: (0.313262 + 0.048587) / 2 = 0.180925."""
    assert one([3.0, 2.0, 0.0], [1, 2, 2]) == pytest.approx(0.180925, abs=1e-6)


def test_a_half_weight_tie_is_one_pair_with_target_one_half():
    """d = 2: ½(0.126928 + 2.126928) = 1.126928; at d = 0 it is log 2, its minimum."""
    assert one([2.0, 0.0], [1, 1], tie_weight=0.5) == pytest.approx(1.126928, abs=1e-6)
    assert one([1.0, 1.0], [1, 1], tie_weight=0.5) == pytest.approx(math.log(2), abs=1e-6)


def test_nothing_but_ties_gives_zero_and_no_gradient():
    scores = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = ranking_loss(scores, torch.tensor([1, 1]), torch.zeros(2, dtype=torch.long))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert scores.grad.tolist() == [0.0, 0.0]


def test_a_prompt_with_nine_answers_weighs_as_much_as_one_with_two():
    """All scores 0: every pair is log 2, so both prompts are, whatever their number of pairs."""
    ranks = torch.tensor([1, 2, *range(1, 10)])
    groups = torch.tensor([0, 0, *([1] * 9)])
    loss = ranking_loss(torch.zeros(11), ranks, groups)
    torch.testing.assert_close(loss, torch.full((2,), math.log(2)))


def test_groups_do_not_mix():
    """Together as alone: pairs never cross from one prompt to another."""
    scores, ranks = (
        torch.randn(7, generator=torch.Generator().manual_seed(0)),
        [1, 2, 3, 2, 1, 1, 2],
    )
    groups = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    together = ranking_loss(scores, torch.tensor(ranks), groups).tolist()
    alone = [one(scores[a:b].tolist(), ranks[a:b]) for a, b in ((0, 3), (3, 5), (5, 7))]
    assert together == pytest.approx(alone, abs=1e-6)


def test_gradient_of_a_pair():
    """d/ds_better = -σ(-d), d/ds_worse = +σ(-d); d = 0 gives ∓½."""
    scores = torch.zeros(2, requires_grad=True)
    ranking_loss(scores, torch.tensor([1, 2]), torch.zeros(2, dtype=torch.long)).sum().backward()
    assert scores.grad.tolist() == [-0.5, 0.5]


def test_a_large_difference_stays_finite():
    assert one([-1e4, 1e4], [1, 2]) == pytest.approx(2e4)


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


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(1, 4)), min_size=2, max_size=9))
def test_loss_is_the_plain_double_loop(answers):
    """The vectorised loss against the sum as one would write it down."""
    scores, ranks = [s for s, _ in answers], [r for _, r in answers]
    terms = [
        -logsigmoid(torch.tensor(scores[i] - scores[j])).item()
        for i in range(len(answers))
        for j in range(len(answers))
        if ranks[i] < ranks[j]
    ]
    expected = sum(terms) / len(terms) if terms else 0.0
    assert one(scores, ranks) == pytest.approx(expected, rel=1e-4, abs=1e-5)
