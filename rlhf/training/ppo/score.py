"""Rollouts judged: by the reward, the frozen reference, and the critic."""

from dataclasses import replace

import torch

from rlhf.models.forward import score_rows
from rlhf.rewards.reward import Reward
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.models import autocast, computes_in_bf16
from rlhf.training.ppo.modes import PPOModels
from rlhf.training.ppo.rollout import frozen_logprobs
from rlhf.types import Rollouts, ScoredRollouts


def score_rollouts(
    rollouts: Rollouts, models: PPOModels, reward: Reward, config: PPOConfig
) -> ScoredRollouts:
    """Scores, log-probs of the reference, values (0 without a critic), of this process's rows.

    Raises:
        TrainingError: a reward that cannot be used, where `on_reward_error` is stop.
    """
    batch, device = rollouts.batch, rollouts.response_ids.device
    ids, mask = rollouts.response_ids, rollouts.response_mask
    scores = reward.score(batch.prompts, rollouts.texts, batch.columns)
    with models.reference() as reference:
        ref_logprobs = frozen_logprobs(reference, batch, ids, mask, config)
    values = torch.zeros_like(ref_logprobs)
    if models.critic is not None:
        limit = config.microbatch_tokens
        with models.whole_critic() as critic, autocast(device, computes_in_bf16(config)):
            values = score_rows(critic, batch, ids, mask, max_tokens=limit)
    return ScoredRollouts(
        rollouts=rollouts,
        scores=replace(scores, scores=scores.scores.to(device)),
        ref_logprobs=ref_logprobs,
        values=values,
    )
