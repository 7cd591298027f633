"""Scoring: the reward of each response, its log-probs under the reference, its values."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from rlhf.models.cpu_kernels.attention import reads_packed_rows
from rlhf.models.forward import score_rows
from rlhf.ops.rewards import normalized_sum
from rlhf.rewards.reward import Reward
from rlhf.training.ppo.compute import Compute
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.experience import penalized_scores
from rlhf.training.ppo.modes import PPOModels
from rlhf.types import Rollouts, ScoredRollouts, Scores

ENVIRONMENT = "environment"  # its name among the parts of the score


def score_rollouts(
    rollouts: Rollouts, models: PPOModels, reward: Reward, compute: Compute
) -> ScoredRollouts:
    """Scores, log-probs of the reference and values of this process's rows.

    Raises:
        TrainingError: a reward that cannot be used, where `on_reward_error` is stop.
    """
    batch = rollouts.batch
    ids, mask, actions = rollouts.response_ids, rollouts.response_mask, rollouts.action_mask
    scores = scores_of(rollouts, reward)
    with models.reference() as reference:
        ref_logprobs = compute.frozen_logprobs(reference, batch, ids, mask, actions)
    values = None
    if models.critic is not None:
        with models.whole_critic() as critic, compute.autocast():
            values = score_rows(
                critic,
                batch,
                ids,
                mask,
                action_mask=actions,
                max_tokens=compute.microbatch_tokens,
                packed=reads_packed_rows(critic.modules()),
                grows=compute.microbatches_grow,
            )
    return ScoredRollouts(
        rollouts=rollouts,
        scores=replace(scores, scores=scores.scores.to(ids.device)),
        ref_logprobs=ref_logprobs,
        values=values,
    )


def scores_of(rollouts: Rollouts, reward: Reward) -> Scores:
    """The score of each response; of an episode the sum of its turns' rewards and the reward's.

    The sources of the reward score an episode's last turn, as the response to what precedes it.

    Raises:
        TrainingError: as `score_rollouts`.
    """
    batch, episodes = rollouts.batch, rollouts.episodes
    if episodes is None:
        return reward.score(batch.prompts, rollouts.texts, batch.columns)
    own = reward.score(episodes.last_prompts, episodes.last_turns, batch.columns)
    given = episodes.rewards.sum(1).cpu()
    failed = torch.tensor([bool(failure) for failure in episodes.failures])
    given = torch.where(failed, torch.nan, given)
    return Scores(
        scores=own.scores + given,
        breakdown={ENVIRONMENT: given, **own.breakdown},
        failures=[
            first or second for first, second in zip(episodes.failures, own.failures, strict=True)
        ],
    )


def with_greedy_scores(
    scored: ScoredRollouts, greedy: Rollouts, reward: Reward, config: PPOConfig
) -> ScoredRollouts:
    """`scored` with the score of the greedy response to each row's prompt, penalised likewise.

    Where the greedy response has no score, its prompt's responses have none.

    greedy: a response to each prompt, in the order of the prompts in `scored`.

    Raises:
        TrainingError: as `score_rollouts`.
    """
    scores = scores_of(greedy, reward)
    final = penalized_scores(scores.scores.to(scored.ref_logprobs.device), greedy, config)
    count = len(scored.rollouts.texts) // len(greedy.texts)
    failures = _first_failures(scored.scores.failures, scores.failures, count)
    return replace(
        scored,
        scores=replace(scored.scores, failures=failures),
        greedy_scores=final.repeat_interleave(count),
    )


def scores_to_train_on(scored: ScoredRollouts, reward: Reward) -> ScoredRollouts:
    """The rollouts with the scores that advantages are computed from; of all processes.

    With reward_aggregation=normalized_sum each source is standardised over these responses. The
    weighted sum that metrics show has the same zero in every iteration, and this one has not.
    """
    if reward.aggregation != "normalized_sum":
        return scored
    values = torch.stack([scored.scores.breakdown[source.name] for source in reward.sources])
    weights = torch.tensor([source.weight for source in reward.sources])
    scores = normalized_sum(values.cpu(), weights).to(scored.scores.scores)
    return replace(scored, scores=replace(scored.scores, scores=scores))


def _first_failures(rows: Sequence[str], groups: Sequence[str], count: int) -> list[str]:
    """Why a row has no score, or else why its group has no baseline."""
    return [failure or groups[index // count] for index, failure in enumerate(rows)]
