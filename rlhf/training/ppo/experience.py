"""From scored rollouts to what the update learns from: rewards, advantages, returns."""

import torch
from torch import Tensor

from rlhf.ops.advantages import (
    dr_grpo,
    gae,
    grpo,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    remax,
    rloo,
)
from rlhf.ops.kl import estimate_kl
from rlhf.ops.loss_means import token_weights
from rlhf.ops.rewards import apply_missing_eos, overlong_penalty, penalized_rewards
from rlhf.ops.whitening import whiten
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import Experience, Rollouts, ScoredRollouts


def make_experience(scored: ScoredRollouts, config: PPOConfig, *, kl_coef: float) -> Experience:
    """Per-token rewards, and the advantages and returns of the configured estimator."""
    rollouts, mask = scored.rollouts, scored.rollouts.action_mask
    kl = estimate_kl(rollouts.logprobs, scored.ref_logprobs, estimator=config.penalty_estimator)
    coef = 0.0 if config.kl_in_loss else kl_coef
    final = final_scores(scored, config)
    if rollouts.episodes is None:
        rewards = penalized_rewards(final, kl, mask, kl_coef=coef)
    else:
        turns = rollouts.episodes.rewards
        # Each turn's reward is at its last token; the score's other parts, and what penalties and
        # clip change, are at the last one.
        rewards = turns + penalized_rewards(final - turns.sum(1), kl, mask, kl_coef=coef)
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages, returns = _advantages(rewards, scored, config)
    loss_mask = mask & rollouts.ended_with_eos[:, None] if config.mask_truncated else mask
    return Experience(
        rollouts=rollouts,
        ref_logprobs=scored.ref_logprobs,
        values=scored.values,
        rewards=rewards,
        advantages=advantages,
        returns=returns,
        loss_mask=loss_mask,
        loss_weights=token_weights(loss_mask, config.loss_type),
    )


def final_scores(scored: ScoredRollouts, config: PPOConfig) -> Tensor:
    """The scores [B] that enter the rewards."""
    return penalized_scores(scored.scores.scores, scored.rollouts, config)


def penalized_scores(scores: Tensor, rollouts: Rollouts, config: PPOConfig) -> Tensor:
    """The scores [B] of these responses, unfinished and long ones penalised, then clipped."""
    scores = apply_missing_eos(
        scores,
        rollouts.ended_with_eos,
        missing_eos_penalty=config.missing_eos_penalty,
        missing_eos_score=config.missing_eos_score,
    )
    if config.overlong_buffer is not None:
        scores = scores + config.overlong_penalty * overlong_penalty(
            rollouts.response_mask.sum(1),
            max_length=config.max_completion_length,
            buffer=config.overlong_buffer,
        )
    if config.reward_clip is None:
        return scores
    return scores.clamp(-config.reward_clip, config.reward_clip)


def _advantages(
    rewards: Tensor, scored: ScoredRollouts, config: PPOConfig
) -> tuple[Tensor, Tensor | None]:
    """Advantages [B, R], 0 on padding; returns [B, R], None without a critic.

    GAE's advantages are whitened over the rows of all ranks. Estimators that give each response
    one number give it to all of its tokens.
    """
    rollouts, mask = scored.rollouts, scored.rollouts.action_mask
    groups = rollouts.batch.group_ids
    if scored.values is not None:
        advantages, returns = gae(rewards, scored.values, mask, gamma=config.gamma, lam=config.lam)
        return whiten(advantages, mask), returns
    if config.advantage == "reinforce++":
        return reinforce_plus_plus(rewards, mask, gamma=config.gamma), None
    if config.advantage == "reinforce++_baseline":
        return reinforce_plus_plus_baseline(rewards.sum(1), groups, mask), None
    if config.advantage == "remax":
        assert scored.greedy_scores is not None
        return remax(rewards, scored.greedy_scores, mask), None
    estimator = {"rloo": rloo, "grpo": grpo, "dr_grpo": dr_grpo}[config.advantage]
    per_response = estimator(rewards.sum(1), groups)
    return torch.where(mask, per_response[:, None], 0.0), None
