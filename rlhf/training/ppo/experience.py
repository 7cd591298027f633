"""From judged rollouts to what the update learns from: rewards, advantages, returns."""

import torch
from torch import Tensor

from rlhf.ops.advantages import gae, grpo, rloo
from rlhf.ops.kl import estimate_kl
from rlhf.ops.rewards import apply_missing_eos, penalized_rewards
from rlhf.ops.whitening import whiten
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import Experience, ScoredRollouts


def make_experience(evaluated: ScoredRollouts, config: PPOConfig, *, kl_coef: float) -> Experience:
    """Per-token rewards, and the advantages and returns of the configured estimator."""
    rollouts, mask = evaluated.rollouts, evaluated.rollouts.response_mask
    scores = final_scores(evaluated, config)
    kl = estimate_kl(rollouts.logprobs, evaluated.ref_logprobs, estimator=config.penalty_estimator)
    penalty = 0.0 if config.kl_in_loss else kl_coef
    rewards = penalized_rewards(scores, kl, mask, kl_coef=penalty)
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages, returns = _advantages(rewards, evaluated, config)
    return Experience(
        rollouts=rollouts,
        ref_logprobs=evaluated.ref_logprobs,
        values=evaluated.values,
        rewards=rewards,
        advantages=advantages,
        returns=returns,
        kl_loss_coef=kl_coef if config.kl_in_loss else 0.0,
    )


def final_scores(evaluated: ScoredRollouts, config: PPOConfig) -> Tensor:
    """The scores [B] that rewards are made of: unfinished responses judged, then clipped."""
    scores = apply_missing_eos(
        evaluated.scores.scores,
        evaluated.rollouts.ended_with_eos,
        missing_eos_penalty=config.missing_eos_penalty,
        missing_eos_score=config.missing_eos_score,
    )
    if config.reward_clip is None:
        return scores
    return scores.clamp(-config.reward_clip, config.reward_clip)


def _advantages(
    rewards: Tensor, evaluated: ScoredRollouts, config: PPOConfig
) -> tuple[Tensor, Tensor]:
    """Advantages and returns, [B, R] each, 0 on padding.

    gae's are whitened over the rows of all ranks. The group estimators give a response one
    number, which each of its tokens gets; they have no returns, since there is no critic.
    """
    rollouts, mask = evaluated.rollouts, evaluated.rollouts.response_mask
    if config.advantage == "gae":
        advantages, returns = gae(
            rewards, evaluated.values, mask, gamma=config.gamma, lam=config.lam
        )
        return whiten(advantages, mask), returns
    estimator = rloo if config.advantage == "rloo" else grpo
    of_response = estimator(rewards.sum(1), rollouts.batch.group_ids)
    advantages = torch.where(mask, of_response[:, None], 0.0)
    return advantages, torch.zeros_like(advantages)
