import math

import pytest
import torch

import rlhf.ops
from rlhf.ops.advantages import (
    dr_grpo,
    gae,
    grpo,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    remax,
    reward_to_go,
    rloo,
    without_spread,
)

MASK = torch.tensor([[True, True, True], [True, True, False]])


def test_literal_gae():
    """gamma 1, lam 0.5, r = [0, 0, 1], V = [0.2, 0.4, 0.6]:

    delta = [0.4 - 0.2, 0.6 - 0.4, 1 - 0.6] = [0.2, 0.2, 0.4]
    A_2 = 0.4, A_1 = 0.2 + 0.5 * 0.4 = 0.4, A_0 = 0.2 + 0.5 * 0.4 = 0.4
    """
    mask = torch.ones(1, 3, dtype=torch.bool)
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.4, 0.6]])
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=0.5)
    torch.testing.assert_close(advantages, torch.tensor([[0.4, 0.4, 0.4]]))
    torch.testing.assert_close(returns, torch.tensor([[0.6, 0.8, 1.0]]))


def test_lambda_one_is_reward_to_go_minus_value():
    rewards, values = torch.rand(2, 3) * MASK, torch.rand(2, 3)
    advantages, returns = gae(rewards, values, MASK, gamma=1.0, lam=1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(advantages, (to_go - values) * MASK)
    torch.testing.assert_close(returns, to_go * MASK)


def test_lambda_zero_is_one_step_of_temporal_difference():
    rewards, values = torch.rand(2, 3) * MASK, torch.rand(2, 3) * MASK
    advantages, _ = gae(rewards, values, MASK, gamma=0.9, lam=0.0)
    next_values = torch.cat([values[:, 1:], torch.zeros(2, 1)], 1)
    torch.testing.assert_close(advantages, (rewards + 0.9 * next_values - values) * MASK)


def test_gae_ignores_padding():
    rewards, values = torch.rand(2, 3), torch.rand(2, 3)
    clean = gae(rewards * MASK, values * MASK, MASK, gamma=1.0, lam=0.95)
    rewards[1, 2], values[1, 2] = float("nan"), float("inf")
    dirty = gae(rewards, values, MASK, gamma=1.0, lam=0.95)
    torch.testing.assert_close(clean, dirty)
    assert dirty[0][1, 2] == 0


def test_value_after_a_truncated_response_is_zero():
    """The last token's delta is r - V: nothing is bootstrapped from padding or beyond."""
    mask = torch.ones(1, 1, dtype=torch.bool)
    advantages, _ = gae(torch.tensor([[1.0]]), torch.tensor([[0.25]]), mask, gamma=1.0, lam=0.95)
    assert advantages.item() == 0.75


def test_literal_rloo():
    """Group 0: 1, 2, 6. Baselines (2 + 6) / 2 = 4, (1 + 6) / 2 = 3.5, (1 + 2) / 2 = 1.5.

    Group 7 stands between its rows: 5, 3 have each other for a baseline.
    """
    advantages = rloo(torch.tensor([1.0, 5.0, 2.0, 3.0, 6.0]), torch.tensor([0, 7, 0, 7, 0]))
    torch.testing.assert_close(advantages, torch.tensor([-3.0, 2.0, -1.5, -2.0, 4.5]))


def test_literal_grpo():
    """1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7. 5, 3: mean 4, variance 2."""
    advantages = grpo(torch.tensor([1.0, 5.0, 2.0, 3.0, 6.0]), torch.tensor([0, 7, 0, 7, 0]))
    seven, two = math.sqrt(7) + 1e-4, math.sqrt(2) + 1e-4
    expected = [-2 / seven, 1 / two, -1 / seven, -1 / two, 3 / seven]
    torch.testing.assert_close(advantages, torch.tensor(expected))


@pytest.mark.parametrize("estimator", [rloo, grpo, dr_grpo])
def test_group_advantages_sum_to_zero_and_ignore_offsets(estimator):
    """Adding 10 to every response to one prompt changes nothing; order of rows changes nothing."""
    groups = torch.arange(6).repeat_interleave(4)
    scores = torch.randn(24, generator=torch.Generator().manual_seed(0))
    advantages = estimator(scores, groups)
    torch.testing.assert_close(advantages.view(6, 4).sum(1), torch.zeros(6), atol=1e-5, rtol=0)
    lifted = estimator(scores + 10.0 * (groups == 2), groups)
    torch.testing.assert_close(advantages, lifted, atol=1e-4, rtol=0)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(estimator(scores[order], groups[order]), advantages[order])


@pytest.mark.parametrize("estimator", [rloo, grpo, dr_grpo])
def test_equal_scores_and_single_responses_give_zero(estimator):
    advantages = estimator(torch.tensor([0.5, 0.5, 9.0]), torch.tensor([0, 0, 1]))
    assert advantages.tolist() == [0.0, 0.0, 0.0]


def test_literal_dr_grpo():
    """Less the means 3 and 4; with K = 3 and 2, rloo's are 3/2 and 2 times as large."""
    scores, groups = torch.tensor([1.0, 5.0, 2.0, 3.0, 6.0]), torch.tensor([0, 7, 0, 7, 0])
    advantages = dr_grpo(scores, groups)
    torch.testing.assert_close(advantages, torch.tensor([-2.0, 1.0, -1.0, -1.0, 3.0]))
    factors = torch.tensor([1.5, 2.0, 1.5, 2.0, 1.5])
    torch.testing.assert_close(rloo(scores, groups), factors * advantages)


REWARDS = torch.tensor([[-0.25, 2.0, 1.0], [1.0, -1.0, float("nan")]])


def test_literal_reward_to_go():
    """gamma 1/2: 1, 2 + 1/2, -1/4 + 5/4; the second response -1, 1 - 1/2; NaN on padding."""
    to_go = reward_to_go(REWARDS, MASK, gamma=0.5)
    torch.testing.assert_close(to_go, torch.tensor([[1.0, 2.5, 1.0], [0.5, -1.0, 0.0]]))


def test_literal_reinforce_plus_plus():
    """Rewards to go 2, 2 and -1: mean 1, variance (1 + 1 + 4) / 2 = 3."""
    rewards = torch.tensor([[0.0, 2.0], [-1.0, 9.0]])
    mask = torch.tensor([[True, True], [True, False]])
    advantages = reinforce_plus_plus(rewards, mask, gamma=1.0)
    expected = torch.tensor([[1.0, 1.0], [-2.0, 0.0]]) / math.sqrt(3)
    torch.testing.assert_close(advantages, expected)


def test_literal_reinforce_plus_plus_baseline():
    """Scores 1 and 3 of one prompt: -1 on two tokens, 1 on one. Mean -1/3, variance 4/3."""
    mask = torch.tensor([[True, True], [True, False]])
    advantages = reinforce_plus_plus_baseline(torch.tensor([1.0, 3.0]), torch.tensor([5, 5]), mask)
    expected = torch.tensor([[-2 / 3, -2 / 3], [4 / 3, 0.0]]) / math.sqrt(4 / 3)
    torch.testing.assert_close(advantages, expected)


def test_literal_remax():
    """Rewards to go 2.75, 3, 1 less a greedy score of 2; 0, -1 less -3."""
    advantages = remax(REWARDS, torch.tensor([2.0, -3.0]), MASK)
    torch.testing.assert_close(advantages, torch.tensor([[0.75, 1.0, -1.0], [3.0, 2.0, 0.0]]))


def test_groups_of_equal_scores_have_no_spread():
    """Group 3 has three times 0.1, group 1 differs in one score, group 2 has one response."""
    scores = torch.tensor([0.1, 0.5, 0.1, 7.0, 0.1, 0.25])
    groups = torch.tensor([3, 1, 3, 2, 3, 1])
    assert without_spread(scores, groups).tolist() == [True, False, True, True, True, False]


def test_rloo_is_unbiased():
    """Two responses, one paid 1 with probability p = σ(θ): E[A ∇ log π] = dE[R]/dθ = p (1 - p).

    All four pairs of draws, weighted by their probability, at p = 0.3.
    """
    p, total = 0.3, 0.0
    for first in (1.0, 0.0):
        for second in (1.0, 0.0):
            chance = (p if first else 1 - p) * (p if second else 1 - p)
            advantages = rloo(torch.tensor([first, second]), torch.tensor([0, 0])).tolist()
            scores = [first - p, second - p]  # d log π / dθ
            total += chance * sum(a * s for a, s in zip(advantages, scores, strict=True)) / 2
    assert total == pytest.approx(p * (1 - p), abs=1e-6)


def test_gae_without_mask_takes_every_token():
    """One row of two tokens; gamma = lam = 1: the reward to go minus V."""
    rewards, values = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.5, 1.0]])
    advantages, returns = rlhf.ops.gae(rewards, values, gamma=1.0, lam=1.0)
    torch.testing.assert_close(advantages, torch.tensor([[1.5, 1.0]]))
    torch.testing.assert_close(returns, torch.tensor([[2.0, 2.0]]))


def test_ops_exports_exist():
    assert all(hasattr(rlhf.ops, name) for name in rlhf.ops.__all__)


def test_gae_across_turns_skips_tokens_of_the_environment():
    """Two turns with two tokens of an environment between them; gamma 0.5, lam 0.5.

    From behind: delta_4 = 2 - 1 = 1 = A_4. delta_3 = 0 + 0.5 * 1 - 0.2 = 0.3, A_3 = 0.3 + 0.25 * 1
    = 0.55. The token before the gap continues with A_3 and V_3, undiscounted over the gap:
    delta_0 = 1 + 0.5 * 0.2 - 0.5 = 0.6, A_0 = 0.6 + 0.25 * 0.55 = 0.7375.
    """
    mask = torch.tensor([[True, False, False, True, True, False]])
    nan = float("nan")
    rewards = torch.tensor([[1.0, nan, 9.0, 0.0, 2.0, nan]])
    values = torch.tensor([[0.5, nan, 7.0, 0.2, 1.0, nan]])
    advantages, returns = gae(rewards, values, mask, gamma=0.5, lam=0.5)
    expected = torch.tensor([[0.7375, 0.0, 0.0, 0.55, 1.0, 0.0]])
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, torch.where(mask, expected + values, 0.0))


def test_gaps_do_not_change_gae_of_the_written_tokens():
    """The same tokens without a gap have the same advantages, for random gaps in every row."""
    draw = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 4, 9, generator=draw)
    mask = torch.rand(4, 9, generator=draw) < 0.6
    advantages, _ = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    for row in range(4):
        written = mask[row]
        alone, _ = gae(rewards[row, written][None], values[row, written][None], gamma=0.9, lam=0.8)
        torch.testing.assert_close(advantages[row, written], alone[0])


def test_reward_to_go_across_turns_adds_rewards_of_later_turns():
    """Rewards 1 after turn 1 and 3 after turn 2: the first turn gets 4, the second 3."""
    mask = torch.tensor([[True, True, False, True]])
    rewards = torch.tensor([[0.0, 1.0, 0.0, 3.0]])
    expected = torch.tensor([[4.0, 4.0, 0.0, 3.0]])
    torch.testing.assert_close(reward_to_go(rewards, mask, gamma=1.0), expected)
