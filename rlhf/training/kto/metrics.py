"""Metrics of a policy on held-out thumbs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.ops.preference import kto_loss
from rlhf.training.kto.thumbs import ThumbWeights, TokenThumb


@dataclass(frozen=True, kw_only=True)
class ThumbHealth:
    """How the policy tells held-out thumbs up and down apart. NaN where one kind is missing."""

    loss: float
    kl: float  # the reference point, nats per response
    accuracy: float  # share of (up, down) pairs whose thumb up has the larger reward
    reward_margin: float  # mean implicit reward of thumbs up minus that of thumbs down
    desirable_reward: float
    undesirable_reward: float
    desirable_logprob: float  # of whole responses, in nats
    undesirable_logprob: float

    def metrics(self) -> dict[str, float]:
        """The metrics by their names in metrics.jsonl."""
        values = {
            "eval_loss": self.loss,
            "eval_kl": self.kl,
            "eval_accuracy": self.accuracy,
            "eval_reward_margin": self.reward_margin,
            "eval_desirable_reward": self.desirable_reward,
            "eval_undesirable_reward": self.undesirable_reward,
            "eval_desirable_logprob": self.desirable_logprob,
            "eval_undesirable_logprob": self.undesirable_logprob,
        }
        return {name: value for name, value in values.items() if not math.isnan(value)}


def measure_thumbs(
    rows: Sequence[TokenThumb],
    logprobs: Tensor,
    ratios: Tensor,
    kl: float,
    *,
    beta: float,
    weights: ThumbWeights,
) -> ThumbHealth:
    """The health on thumbs.

    Args:
        rows: N, at least one.
        logprobs: float [N], of the policy.
        ratios: float [N], minus those of the reference.
        kl: the reference point.
        beta: inverse temperature.
        weights: of the two kinds.
    """
    desirable = torch.tensor([row.desirable for row in rows])
    losses = kto_loss(
        ratios,
        desirable,
        kl,
        beta=beta,
        desirable_weight=weights.desirable,
        undesirable_weight=weights.undesirable,
    )
    rewards = beta * ratios
    up, down = rewards[desirable], rewards[~desirable]
    return ThumbHealth(
        loss=float(losses.mean()),
        kl=kl,
        accuracy=_share_in_order(up, down),
        reward_margin=float(up.mean() - down.mean()),
        desirable_reward=float(up.mean()),
        undesirable_reward=float(down.mean()),
        desirable_logprob=float(logprobs[desirable].mean()),
        undesirable_logprob=float(logprobs[~desirable].mean()),
    )


def _share_in_order(up: Tensor, down: Tensor) -> float:
    """Share of pairs with the larger number in `up` (the area under the ROC curve); ties half."""
    if not len(up) or not len(down):
        return math.nan
    return float(((torch.sign(up[:, None] - down[None, :]) + 1) / 2).mean())
