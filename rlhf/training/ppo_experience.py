"""From judged rollouts to what the update learns from: rewards, advantages, returns."""

from rlhf.ops.advantages import gae
from rlhf.ops.kl import estimate_kl
from rlhf.ops.rewards import judge_unfinished, penalized_rewards
from rlhf.ops.whitening import whiten
from rlhf.training.ppo_config import PPOConfig
from rlhf.types import Evaluated, Experience


def make_experience(evaluated: Evaluated, config: PPOConfig, *, kl_coef: float) -> Experience:
    """Per-token rewards, advantages (whitened over the rows of all ranks), returns."""
    rollouts = evaluated.rollouts
    mask = rollouts.response_mask
    scores = judge_unfinished(
        evaluated.scores.scores,
        rollouts.ended_with_eos,
        missing_eos_penalty=config.missing_eos_penalty,
        missing_eos_score=config.missing_eos_score,
    )
    if config.reward_clip is not None:
        scores = scores.clamp(-config.reward_clip, config.reward_clip)
    kl = estimate_kl(rollouts.logprobs, evaluated.ref_logprobs, estimator=config.kl_estimator)
    rewards = penalized_rewards(scores, kl, mask, kl_coef=kl_coef)
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages, returns = gae(rewards, evaluated.values, mask, gamma=config.gamma, lam=config.lam)
    return Experience(
        rollouts=rollouts,
        values=evaluated.values,
        rewards=rewards,
        advantages=whiten(advantages, mask),
        returns=returns,
    )
