import torch

from rlhf.ops.advantages import gae

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


def test_what_stands_on_padding_changes_nothing():
    rewards, values = torch.rand(2, 3), torch.rand(2, 3)
    clean = gae(rewards * MASK, values * MASK, MASK, gamma=1.0, lam=0.95)
    rewards[1, 2], values[1, 2] = float("nan"), float("inf")
    dirty = gae(rewards, values, MASK, gamma=1.0, lam=0.95)
    torch.testing.assert_close(clean, dirty)
    assert dirty[0][1, 2] == 0


def test_a_truncated_response_gets_no_value_of_what_would_follow():
    """The last token's delta is r - V: nothing is bootstrapped from padding or beyond."""
    mask = torch.ones(1, 1, dtype=torch.bool)
    advantages, _ = gae(torch.tensor([[1.0]]), torch.tensor([[0.25]]), mask, gamma=1.0, lam=0.95)
    assert advantages.item() == 0.75
