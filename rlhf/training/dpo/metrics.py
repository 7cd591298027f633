"""Metrics of a policy on held-out pairs."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.ops.accuracy import share_with_interval
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.dpo.loss import FlatPairs, PairValues, pair_losses, pair_metrics
from rlhf.training.dpo.pairs import PromptPairs


@dataclass(frozen=True, kw_only=True)
class PairHealth:
    """How the policy orders held-out pairs. Means give each prompt the same weight."""

    loss: float
    accuracy: float  # share of pairs whose chosen response has the larger reward
    low: float  # 95% interval, clustered by prompt
    high: float
    pairs: int
    reward_margin: float  # implicit reward of chosen minus that of rejected responses
    chosen_reward: float
    rejected_reward: float
    chosen_logprob: float  # of whole responses, in nats
    rejected_logprob: float

    def metrics(self) -> dict[str, float]:
        """The metrics by their names in metrics.jsonl."""
        return {
            "eval_loss": self.loss,
            "eval_accuracy": self.accuracy,
            "eval_accuracy_low": self.low,
            "eval_accuracy_high": self.high,
            "eval_pairs": self.pairs,
            "eval_reward_margin": self.reward_margin,
            "eval_chosen_reward": self.chosen_reward,
            "eval_rejected_reward": self.rejected_reward,
            "eval_chosen_logprob": self.chosen_logprob,
            "eval_rejected_logprob": self.rejected_logprob,
        }


def measure_pairs(
    prompts: Sequence[PromptPairs], flat: FlatPairs, values: PairValues, config: DPOConfig
) -> PairHealth:
    """The health on pairs.

    Args:
        prompts: at least one, with pairs.
        flat: `flatten(prompts)`.
        values: numbers of its responses.
        config: keys of the loss.
    """
    weights = flat.weights / flat.weights.sum()
    losses = pair_losses(flat, values, config)
    metrics = pair_metrics(flat, values, config)
    means = {name: float((weights * column).sum()) for name, column in metrics.items()}
    correct, pairs = _by_prompt(prompts, metrics["accuracy"])
    share, low, high = share_with_interval(correct, pairs)
    return PairHealth(
        loss=float((weights * losses).sum()),
        accuracy=share,
        low=low,
        high=high,
        pairs=len(losses),
        reward_margin=means["reward_margin"],
        chosen_reward=means["chosen_reward"],
        rejected_reward=means["rejected_reward"],
        chosen_logprob=means["chosen_logprob"],
        rejected_logprob=means["rejected_logprob"],
    )


def _by_prompt(prompts: Sequence[PromptPairs], correct: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs in order and all pairs of each prompt, float [prompts] each."""
    sums: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    sizes = [len(prompt.pairs) for prompt in prompts]
    for prompt, part in zip(prompts, torch.split(correct, sizes), strict=True):
        sums[prompt.group] += float(part.sum())
        counts[prompt.group] += len(prompt.pairs)
    return torch.tensor(list(sums.values())), torch.tensor(list(map(float, counts.values())))
