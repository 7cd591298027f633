"""The loss and the metrics of pairs, from the log-probs of their responses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.data.tokenization.policy_rows import TokenResponse
from rlhf.ops.preference import (
    apo_down_pair_loss,
    apo_zero_pair_loss,
    hinge_pair_loss,
    ipo_pair_loss,
    odds_ratio_pair_loss,
    robust_pair_loss,
    sigmoid_pair_loss,
)
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.dpo.pairs import PromptPairs


@dataclass(frozen=True, kw_only=True)
class FlatPairs:
    """The M pairs of some prompts, and the N responses that they are of."""

    responses: Sequence[TokenResponse]  # N
    chosen: Tensor  # long [M], place among the responses
    rejected: Tensor  # long [M]
    strengths: Tensor  # float [M]
    weights: Tensor  # float [M]; they sum to the weights of the prompts
    lengths: Tensor  # float [N], tokens of the responses

    def to(self, device: torch.device) -> "FlatPairs":
        """The same pairs with their tensors on a device."""
        return FlatPairs(
            responses=self.responses,
            chosen=self.chosen.to(device),
            rejected=self.rejected.to(device),
            strengths=self.strengths.to(device),
            weights=self.weights.to(device),
            lengths=self.lengths.to(device),
        )


def flatten(prompts: Sequence[PromptPairs]) -> FlatPairs:
    """The pairs and responses of all prompts in one row."""
    responses: list[TokenResponse] = []
    chosen: list[int] = []
    rejected: list[int] = []
    strengths: list[float] = []
    weights: list[float] = []
    for prompt in prompts:
        start = len(responses)
        responses += prompt.responses
        chosen += [start + pair.chosen for pair in prompt.pairs]
        rejected += [start + pair.rejected for pair in prompt.pairs]
        strengths += [pair.strength for pair in prompt.pairs]
        weights += [prompt.weight / len(prompt.pairs)] * len(prompt.pairs)
    return FlatPairs(
        responses=responses,
        chosen=torch.tensor(chosen, dtype=torch.long),
        rejected=torch.tensor(rejected, dtype=torch.long),
        strengths=torch.tensor(strengths),
        weights=torch.tensor(weights),
        lengths=torch.tensor([float(len(row.response_ids)) for row in responses]),
    )


@dataclass(frozen=True, kw_only=True)
class PairValues:
    """What the losses are made of: numbers of N responses."""

    logprobs: Tensor  # float [N], of the policy, in nats
    ratios: Tensor  # float [N], minus those of the reference; the log-probs themselves without one
    lengths: Tensor  # float [N]

    @property
    def mean_ratios(self) -> Tensor:
        """Log-ratios per token, float [N]."""
        return self.ratios / self.lengths

    @property
    def mean_logprobs(self) -> Tensor:
        """Log-probs per token, float [N]."""
        return self.logprobs / self.lengths


def pair_values(flat: FlatPairs, logprobs: Tensor, ref_logprobs: Tensor | None) -> PairValues:
    """The numbers of the responses of pairs.

    Args:
        flat: the pairs.
        logprobs: float [N], of the policy.
        ref_logprobs: float [N]; None for a loss without a reference.
    """
    ratios = logprobs if ref_logprobs is None else logprobs - ref_logprobs
    return PairValues(logprobs=logprobs, ratios=ratios, lengths=flat.lengths)


def pair_losses(flat: FlatPairs, values: PairValues, config: DPOConfig) -> Tensor:
    """The loss of each pair, float [M]."""
    losses = _preference_losses(flat, values, config)
    weight = 1.0 if config.loss_type == "orpo" else config.sft_coef
    if not weight:
        return losses
    return losses - weight * values.mean_logprobs[flat.chosen]


def _preference_losses(flat: FlatPairs, values: PairValues, config: DPOConfig) -> Tensor:
    beta, kind = config.beta, config.loss_type
    # Strength 1 is a slight preference, or one of unknown strength: no margin.
    margins = config.margin_coef * (flat.strengths - 1) if config.margin_coef else None
    chosen, rejected = values.ratios[flat.chosen], values.ratios[flat.rejected]
    means = values.mean_ratios
    mean_difference = means[flat.chosen] - means[flat.rejected]
    if kind in ("sigmoid", "cdpo"):
        return sigmoid_pair_loss(
            chosen - rejected, beta=beta, margins=margins, label_smoothing=config.label_smoothing
        )
    if kind == "robust":
        return robust_pair_loss(
            chosen - rejected, beta=beta, margins=margins, label_smoothing=config.label_smoothing
        )
    if kind == "hinge":
        return hinge_pair_loss(chosen - rejected, beta=beta, margins=margins)
    if kind == "ipo":
        return ipo_pair_loss(mean_difference, beta=beta)
    if kind == "apo_zero":
        return apo_zero_pair_loss(chosen, rejected, beta=beta)
    if kind == "apo_down":
        return apo_down_pair_loss(chosen, rejected, beta=beta)
    if kind == "simpo":
        target = torch.full_like(mean_difference, config.simpo_gamma)
        return sigmoid_pair_loss(
            mean_difference, beta=beta, margins=target if margins is None else target + margins
        )
    return beta * odds_ratio_pair_loss(means[flat.chosen], means[flat.rejected])


def implicit_rewards(values: PairValues, config: DPOConfig) -> Tensor:
    """What the loss compares, float [N]: beta times the log-ratio, or the log-prob per token."""
    if config.loss_type in ("ipo", "simpo", "orpo"):
        return config.beta * values.mean_ratios
    return config.beta * values.ratios


def pair_metrics(flat: FlatPairs, values: PairValues, config: DPOConfig) -> Mapping[str, Tensor]:
    """Metrics of each pair by name, float [M] without a gradient. Equal rewards count half."""
    rewards = implicit_rewards(values, config).detach()
    logprobs = values.logprobs.detach()
    margins = rewards[flat.chosen] - rewards[flat.rejected]
    return {
        "accuracy": (torch.sign(margins) + 1) / 2,
        "reward_margin": margins,
        "chosen_reward": rewards[flat.chosen],
        "rejected_reward": rewards[flat.rejected],
        "chosen_logprob": logprobs[flat.chosen],
        "rejected_logprob": logprobs[flat.rejected],
    }
