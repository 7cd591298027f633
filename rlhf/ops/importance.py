"""Weights that correct for responses sampled by another forward pass than the one that trains."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.ops.masking import masked_mean
from rlhf.types import ImportanceCorrection as ImportanceCorrection
from rlhf.types import ImportanceLevel as ImportanceLevel

LOG_RATIO_LIMIT = 20.0  # exp(20) is 4.9e8: larger ratios are a broken step, not a gradient


@dataclass(frozen=True)
class LogprobGap:
    """How two sets of log-probs of the same tokens differ. Means are over response tokens."""

    mean: float  # |train - sampler|, nats
    largest: float
    weight: float  # mean of exp(train - sampler); 1 for tokens that the sampler drew
    largest_weight: float
    effective: float  # effective sample size of these weights as a share of the tokens


def importance_weights(
    train_logprobs: Tensor,
    sampler_logprobs: Tensor,
    response_mask: Tensor,
    *,
    cap: float,
    floor: float = 0.0,
    correction: ImportanceCorrection = "truncate",
    level: ImportanceLevel = "token",
) -> Tensor:
    """Weights w of tokens in the policy's loss, float [B, R], without gradient. 1 on padding.

        ρ = exp(train_logprobs - sampler_logprobs), of a token or of the whole response
        truncate:  w = min(ρ, cap)
        mask:      w = ρ where floor <= ρ <= cap, else 0

    Corrects for tokens that were sampled by another forward pass than the training one: other
    kernels, another precision, older weights. Truncated importance sampling (Ionides 2008) keeps
    every token and lets none outweigh a batch. Masking leaves out tokens (IcePop:
    https://arxiv.org/abs/2510.18855) or responses on which the passes disagree much. Per response,
    ρ is unbiased for the tokens before a token too, and its variance grows with the length. The
    log-ratio is at most 20.

    Args:
        train_logprobs: float [B, R], of the training pass.
        sampler_logprobs: float [B, R], of the pass that sampled.
        response_mask: bool [B, R].
        cap: largest weight.
        floor: smallest weight of `mask`.
        correction: truncate or mask.
        level: whether ρ is that of each token, or of the response for all of its tokens.
    """
    log_ratio = torch.where(response_mask, train_logprobs - sampler_logprobs, 0.0).detach()
    if level == "sequence":
        log_ratio = torch.where(response_mask, log_ratio.sum(1, keepdim=True), 0.0)
    ratio = log_ratio.clamp(max=LOG_RATIO_LIMIT).exp()
    if correction == "truncate":
        return ratio.clamp(max=cap)
    used = (ratio >= floor) & (ratio <= cap)
    return torch.where(used | ~response_mask, ratio, 0.0)


def logprob_gap(
    train_logprobs: Tensor, sampler_logprobs: Tensor, response_mask: Tensor
) -> LogprobGap:
    """How far the training pass is from the one that sampled.

    The effective sample size is (Σ ρ)² / Σ ρ² (Kong 1992) of the tokens' ratios ρ, here over the
    number of tokens: 1 where both passes agree.

    All [B, R]; log-probs float, mask bool.
    """
    log_ratio = torch.where(response_mask, train_logprobs - sampler_logprobs, 0.0).detach()
    ratio = log_ratio.clamp(max=LOG_RATIO_LIMIT).exp()
    mean, mean_square = (masked_mean(values, response_mask) for values in (ratio, ratio**2))
    return LogprobGap(
        mean=float(masked_mean(log_ratio.abs(), response_mask)),
        largest=float(log_ratio.abs().max()),
        weight=float(mean),
        largest_weight=float(torch.where(response_mask, ratio, 0.0).max()),
        effective=float(mean**2 / mean_square),
    )
