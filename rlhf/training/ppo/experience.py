"""From scored rollouts to what the update learns from: rewards, advantages, returns."""

import torch
from torch import Tensor

from rlhf.ops.advantages import gae, grpo, rloo
from rlhf.ops.kl import estimate_kl
from rlhf.ops.rewards import apply_missing_eos, penalized_rewards
from rlhf.ops.whitening import whiten
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import Experience, ScoredRollouts


def make_experience(scored: ScoredRollouts, config: PPOConfig, *, kl_coef: float) -> Experience:
    """Per-token rewards, and the advantages and returns of the configured estimator."""
    rollouts, mask = scored.rollouts, scored.rollouts.response_mask
    kl = estimate_kl(rollouts.logprobs, scored.ref_logprobs, estimator=config.penalty_estimator)
    rewards = penalized_rewards(
        final_scores(scored, config), kl, mask, kl_coef=0.0 if config.kl_in_loss else kl_coef
    )
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages, returns = _advantages(rewards, scored, config)
    return Experience(
        rollouts=rollouts,
        ref_logprobs=scored.ref_logprobs,
        values=scored.values,
        rewards=rewards,
        advantages=advantages,
        returns=returns,
    )


def final_scores(scored: ScoredRollouts, config: PPOConfig) -> Tensor:
    """The scores [B] that enter the rewards: unfinished responses penalised, then clipped."""
    scores = apply_missing_eos(
        scored.scores.scores,
        scored.rollouts.ended_with_eos,
        missing_eos_penalty=config.missing_eos_penalty,
        missing_eos_score=config.missing_eos_score,
    )
    if config.reward_clip is None:
        return scores
    return scores.clamp(-config.reward_clip, config.reward_clip)


def _advantages(
    rewards: Tensor, scored: ScoredRollouts, config: PPOConfig
) -> tuple[Tensor, Tensor | None]:
    """Advantages [B, R], 0 on padding; returns [B, R], None without a critic.

    GAE's advantages are whitened over the rows of all ranks. The group estimators give each
    response one number, which all of its tokens get.
    """
    rollouts, mask = scored.rollouts, scored.rollouts.response_mask
    if scored.values is not None:
        advantages, returns = gae(rewards, scored.values, mask, gamma=config.gamma, lam=config.lam)
        return whiten(advantages, mask), returns
    estimator = rloo if config.advantage == "rloo" else grpo
    per_response = estimator(rewards.sum(1), rollouts.batch.group_ids)
    return torch.where(mask, per_response[:, None], 0.0), None
