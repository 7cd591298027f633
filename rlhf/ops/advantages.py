"""Advantage estimators: rewards and values in, advantages and returns out."""

import torch
from torch import Tensor

from rlhf.ops.whitening import whiten

GROUP_EPSILON = 1e-4


def gae(
    rewards: Tensor,
    values: Tensor,
    response_mask: Tensor | None = None,
    *,
    gamma: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation (https://arxiv.org/abs/1506.02438, eq. 16).

        delta_t = r_t + gamma * V_{t+1} [t < n-1] - V_t
        A_t     = delta_t + gamma * lam * A_{t+1}
        R_t     = A_t + V_t

    t + 1 is the next token that the model writes: tokens of an environment between two turns are
    part of the state, not actions. They have no advantage, and are not discounted. The response
    ends the episode, by EOS or by length: V after its last token is 0.

    Args:
        rewards: float [B, R], reward for emitting response token t.
        values: float [B, R], V of the prefix before token t, without gradient.
        response_mask: bool [B, R], False on padding and on tokens that the model did not write;
            default: True everywhere.
        gamma: discount; 1.0 where a response is one decision.
        lam: 1.0 is reward-to-go minus V (no bias), 0.0 one step of it (least variance).

    Returns:
        advantages, returns: float [B, R], 0 where the mask is False. Advantages are not whitened,
        so that returns == advantages + values where it is True.
    """
    if response_mask is None:
        response_mask = torch.ones_like(rewards, dtype=torch.bool)
    # Values on padding (NaN too) must not reach a response token.
    rewards = torch.where(response_mask, rewards, 0.0)
    values = torch.where(response_mask, values, 0.0)
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        written = response_mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = torch.where(written, delta + gamma * lam * next_advantage, next_advantage)
        next_value = torch.where(written, values[:, t], next_value)
        advantages[:, t] = torch.where(written, next_advantage, 0.0)
    return advantages, torch.where(response_mask, advantages + values, 0.0)


def rloo(sequence_rewards: Tensor, group_ids: Tensor) -> Tensor:
    """REINFORCE leave-one-out (https://arxiv.org/abs/2402.14740, eq. 8), float [B].

        A_i = R_i - (Σ_{j≠i} R_j) / (K - 1) = (R_i - mean of the group) * K / (K - 1)

    The baseline of a response is the mean of the other responses to its prompt, which does not
    depend on the response itself: no bias, and no critic. Not whitened. A response that is alone in
    its group gets 0.

    sequence_rewards: float [B], score less the KL penalty of the whole response.
    group_ids: long [B], equal for responses to one prompt; in any order.
    """
    mean, count = _of_groups(sequence_rewards, group_ids)
    return (sequence_rewards - mean) * count / (count - 1).clamp(min=1)


def grpo(scores: Tensor, group_ids: Tensor) -> Tensor:
    """Group-relative advantages (https://arxiv.org/abs/2402.03300, 4.1.2), float [B].

        A_i = (r_i - mean of the group) / (std of the group + 1e-4)

    The Bessel-corrected std and the 1e-4 follow TRL's GRPO; the paper specifies neither. The KL
    penalty is not part of the scores but of the loss. Groups of equal scores, and responses alone
    in their group, get 0. Arguments as in `rloo`.
    """
    # In float64: the rounding error of a float32 mean of equal scores is large compared with 1e-4.
    exact = scores.double()
    mean, count = _of_groups(exact, group_ids)
    mean_square, _ = _of_groups((exact - mean) ** 2, group_ids)
    std = (mean_square * count / (count - 1).clamp(min=1)).sqrt()
    return ((exact - mean) / (std + GROUP_EPSILON)).to(scores.dtype)


def dr_grpo(scores: Tensor, group_ids: Tensor) -> Tensor:
    """GRPO's advantages without the division (https://arxiv.org/abs/2503.20783), float [B].

        A_i = r_i - mean of the group

    Dividing by the std of the group weighs prompts with nearly equal scores most. Arguments as in
    `rloo`, which differs by the factor K / (K - 1).
    """
    return scores - _of_groups(scores, group_ids)[0]


def reward_to_go(rewards: Tensor, response_mask: Tensor, *, gamma: float) -> Tensor:
    """The discounted sum of the rewards from each token on, float [B, R], 0 on padding.

        G_t = r_t + gamma * G_{t+1}

    rewards: float [B, R]; response_mask: bool [B, R]; gamma: discount.
    """
    # GAE without a critic and with lam 1: there A_t = r_t + gamma * A_{t+1}.
    return gae(rewards, torch.zeros_like(rewards), response_mask, gamma=gamma, lam=1.0)[0]


def reinforce_plus_plus(rewards: Tensor, response_mask: Tensor, *, gamma: float) -> Tensor:
    """REINFORCE++ (https://arxiv.org/abs/2501.03262, eq. 8 and 10), float [B, R], 0 on padding.

        A_t = (G_t - μ) / σ,  G_t the reward to go

    The rewards include the KL penalty of each token. μ and σ are over the response tokens of the
    whole batch, whose mean is the only baseline. Arguments as in `reward_to_go`, of all ranks.
    """
    return whiten(reward_to_go(rewards, response_mask, gamma=gamma), response_mask)


def reinforce_plus_plus_baseline(
    sequence_rewards: Tensor, group_ids: Tensor, response_mask: Tensor
) -> Tensor:
    """REINFORCE++ with a baseline of the group (https://arxiv.org/abs/2501.03262), float [B, R].

        A_t = (a - μ) / σ,  a = R_i - mean of the group

    μ and σ are over the response tokens of the whole batch, so that no prompt is weighted by its
    own spread, as in GRPO. The first two arguments are those of `rloo`; response_mask: bool
    [B, R]; all of all ranks.
    """
    centered = dr_grpo(sequence_rewards, group_ids)[:, None].expand(response_mask.shape)
    return whiten(centered, response_mask)


def remax(rewards: Tensor, greedy_scores: Tensor, response_mask: Tensor) -> Tensor:
    """ReMax (https://arxiv.org/abs/2310.10505), float [B, R], 0 on padding.

        A_t = Σ_{i>=t} r_i - score of the greedy response to the same prompt

    The baseline does not depend on the sampled response: no bias, and no critic.

    rewards: float [B, R], with the score on the last token; greedy_scores: float [B];
    response_mask: bool [B, R].
    """
    to_go = reward_to_go(rewards, response_mask, gamma=1.0)
    return torch.where(response_mask, to_go - greedy_scores[:, None], 0.0)


def without_spread(scores: Tensor, group_ids: Tensor) -> Tensor:
    """Which responses belong to a group of equal scores, bool [B].

    Their advantages are 0 in every estimator that compares a group. Arguments as in `rloo`.
    """
    _, group, sizes = torch.unique(group_ids, return_inverse=True, return_counts=True)
    zeros = scores.new_zeros(len(sizes))
    highest = zeros.scatter_reduce(0, group, scores, "amax", include_self=False)
    lowest = zeros.scatter_reduce(0, group, scores, "amin", include_self=False)
    return (highest == lowest)[group]


def _of_groups(values: Tensor, group_ids: Tensor) -> tuple[Tensor, Tensor]:
    """For each value the mean and the size of its group, float [B] each."""
    _, group, sizes = torch.unique(group_ids, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(sizes), dtype=values.dtype, device=values.device)
    sums.index_add_(0, group, values)
    return (sums / sizes)[group], sizes[group].to(values.dtype)
