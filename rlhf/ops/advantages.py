"""Advantage estimators: rewards and values in, advantages and returns out."""

import torch
from torch import Tensor


def gae(
    rewards: Tensor, values: Tensor, response_mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation (https://arxiv.org/abs/1506.02438, eq. 16).

        delta_t = r_t + gamma * V_{t+1} [t < n-1] - V_t
        A_t     = delta_t + gamma * lam * A_{t+1}
        R_t     = A_t + V_t

    The response ends the episode, by EOS or by length: V after its last token is 0.

    Args:
        rewards: float [B, R], reward for emitting response token t.
        values: float [B, R], V of the prefix before token t, without gradient.
        response_mask: bool [B, R], False on right padding.
        gamma: discount; 1.0 where a response is one decision.
        lam: 1.0 is reward-to-go minus V (no bias), 0.0 one step of it (least variance).

    Returns:
        advantages, returns: float [B, R], 0 on padding. Advantages are not whitened, so that
        returns == advantages + values on every response token.
    """
    # Whatever stands on padding (NaN too) must not reach a response token.
    rewards = torch.where(response_mask, rewards, 0.0)
    values = torch.where(response_mask, values, 0.0)
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = (delta + gamma * lam * next_advantage) * response_mask[:, t]
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages, torch.where(response_mask, advantages + values, 0.0)
