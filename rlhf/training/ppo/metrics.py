"""Metrics of a rollout batch: masked means over the rows of all ranks."""

import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from rlhf.ops.importance import logprob_gap
from rlhf.ops.kl import kl_k1, kl_k3
from rlhf.ops.masking import masked_mean, masked_sum
from rlhf.ops.whitening import masked_variance
from rlhf.runtime.distributed import print_once
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.dynamic_sampling import share_of_equal_groups
from rlhf.training.ppo.reward_metrics import short_names
from rlhf.training.ppo.settings import PPOSettings
from rlhf.types import Episodes, Experience, Prompt, Rollouts, ScoredRollouts

PROGRESS = ("score", "kl", "response_length", "eos_rate")  # printed while a run goes on
NUM_LINES = 20  # printed over a run
OnStep = Callable[[int, Mapping[str, float]], None]
"""What is called after each step, with its number and metrics."""


def rollout_metrics(scored: ScoredRollouts) -> dict[str, float]:
    """Score, KL from the reference, entropy, length, EOS rate. KL per response is in nats."""
    rollouts, mask = scored.rollouts, scored.rollouts.action_mask
    k1 = kl_k1(rollouts.logprobs, scored.ref_logprobs)
    k3 = kl_k3(rollouts.logprobs, scored.ref_logprobs)
    num_rows = len(mask)
    metrics: dict[str, Tensor | float] = {
        "score": scored.scores.scores.mean(),
        "score_std": scored.scores.scores.std(correction=0),
        "kl": masked_sum(k1, mask) / num_rows,
        "kl_k3": masked_sum(k3, mask) / num_rows,
        "kl_per_token": masked_mean(k1, mask),
        "kl_k3_per_token": masked_mean(k3, mask),
        "entropy": masked_mean(rollouts.entropies, mask),
        "response_length": mask.sum(1).float().mean(),
        "eos_rate": rollouts.ended_with_eos.float().mean(),
        "distinct_2": distinct_2(rollouts.response_ids, mask),
    }
    if rollouts.sampler_logprobs is not None:
        metrics |= gap_metrics(rollouts, rollouts.sampler_logprobs)
    if rollouts.episodes is not None:
        metrics |= episode_metrics(rollouts, rollouts.episodes)
    if bool((rollouts.thought_lengths > 0).any()):
        metrics["thought_length"] = rollouts.thought_lengths.float().mean()
    if len(scored.scores.breakdown) > 1:
        short = short_names(list(scored.scores.breakdown))
        parts = zip(short, scored.scores.breakdown.values(), strict=True)
        metrics |= {f"score/{name}": values.mean() for name, values in parts}
    return {name: float(value) for name, value in metrics.items()}


def gap_metrics(rollouts: Rollouts, sampler_logprobs: Tensor) -> dict[str, Tensor | float]:
    """How far the sampler's log-probs are from the trainer's, and the tokens left out for it."""
    mask = rollouts.action_mask
    gap = logprob_gap(rollouts.logprobs, sampler_logprobs, mask)
    return {
        "logprob_gap": gap.mean,
        "logprob_gap_max": gap.largest,
        "importance_weight": gap.weight,
        "importance_weight_max": gap.largest_weight,
        "effective_sample_size": gap.effective,
        "importance_masked": masked_mean((rollouts.importance_weights == 0).float(), mask),
    }


def episode_metrics(rollouts: Rollouts, episodes: Episodes) -> dict[str, Tensor | float]:
    """Means over episodes: turns, tool calls, tokens of the environment."""
    given = rollouts.response_mask & ~rollouts.action_mask
    return {
        "turns": episodes.num_turns.float().mean(),
        "tool_calls": episodes.num_calls.float().mean(),
        "environment_tokens": given.sum(1).float().mean(),
    }


def distinct_2(response_ids: Tensor, response_mask: Tensor) -> float:
    """Distinct pairs of neighbouring tokens over all pairs, of all responses together.

    1.0 where no pair occurs twice; it falls as responses become similar. It also falls with more
    text, so compare it only within a run. 0.0 where there is no pair. long and bool [B, R].
    """
    pairs = response_ids[:, :-1] * 2**32 + response_ids[:, 1:]
    pairs = pairs[response_mask[:, 1:] & response_mask[:, :-1]]
    return len(set(pairs.tolist())) / max(1, len(pairs))


def experience_metrics(experience: Experience, settings: PPOSettings) -> dict[str, float]:
    """Mean reward of a response; the critic's explained variance; the number of skipped responses.

    Explained variance is 1 - Var(return - value) / Var(return) over response tokens.
    """
    mask, num_rows = experience.rollouts.action_mask, len(experience.rewards)
    metrics = {"reward": float(masked_sum(experience.rewards, mask) / num_rows)}
    if experience.values is not None and experience.returns is not None:
        residual = masked_variance(experience.returns - experience.values, mask)
        total = masked_variance(experience.returns, mask).clamp(min=1e-8)
        metrics["explained_variance"] = float(1 - residual / total)
    if settings.reward.on_reward_error == "skip":
        metrics["rewards_skipped"] = settings.ppo.rollout_batch_size - num_rows
    return metrics


def group_metrics(scored: ScoredRollouts, config: PPOConfig) -> dict[str, float]:
    """The share of groups that teach nothing; responses sampled in addition, as baselines."""
    metrics: dict[str, float] = {}
    if config.compares_groups:
        metrics["equal_groups"] = share_of_equal_groups(scored, config)
    if config.advantage == "remax":
        metrics["extra_responses"] = config.num_prompts
    return metrics


def replaced_metrics(scored: ScoredRollouts, drawn: int, config: PPOConfig) -> dict[str, float]:
    """What dynamic sampling left of the groups that teach nothing; responses that it sampled."""
    return {
        "equal_groups_left": share_of_equal_groups(scored, config),
        "extra_responses": drawn * config.num_generations,
    }


def held_out_metrics(scored: ScoredRollouts) -> dict[str, float]:
    """The metrics of held-out prompts, as `eval_…`.

    `eval_score_error` is the standard error of `eval_score`.
    """
    metrics = rollout_metrics(scored)
    names = ("score", "kl", "response_length", "eos_rate")
    error = metrics["score_std"] / math.sqrt(len(scored.rollouts.texts))
    return {f"eval_{name}": metrics[name] for name in names} | {"eval_score_error": error}


def peak_memory_mb() -> float:
    """Peak memory: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def is_printed(step: int, num_steps: int) -> bool:
    """Whether a line is printed about this step; true for about NUM_LINES steps of a run."""
    return step % max(1, num_steps // NUM_LINES) == 0 or step == num_steps


def print_progress(num_steps: int) -> OnStep:
    """A function that prints a line about a step, for about NUM_LINES steps of a run."""

    def show(step: int, metrics: Mapping[str, float]) -> None:
        if is_printed(step, num_steps):
            values = ", ".join(f"{name} {metrics[name]:.4f}" for name in PROGRESS)
            print_once(f"step {step}/{num_steps}: {values}")

    return show


def preview(prompts: Sequence[Prompt], count: int) -> str:
    """The first prompts, shortened, for a message."""
    return ", ".join(repr(prompt)[:80] for prompt in prompts[:count])


class Clock:
    """Seconds of the phases of one iteration."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Record the time since the last lap under `name`."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now

    def speeds(self, experience: Experience) -> dict[str, float]:
        """The laps; responses and response tokens (of all ranks) per second."""
        mask, total = experience.rollouts.action_mask, sum(self.seconds.values())
        return self.seconds | {
            "samples_per_second": len(mask) / total,
            "tokens_per_second": int(mask.sum()) / total,
            "peak_memory_mb": peak_memory_mb(),
        }
