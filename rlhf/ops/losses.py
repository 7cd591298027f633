"""PPO's losses, summed over response tokens; the caller divides by the global token count."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.ops.importance import LOG_RATIO_LIMIT, ImportanceLevel, importance_weights
from rlhf.ops.kl import KLEstimator, estimate_kl
from rlhf.ops.masking import masked_sum


@dataclass(frozen=True)
class PolicyLoss:
    """Sums over response tokens. `loss` has a gradient, the others are metrics."""

    loss: Tensor
    ratio: Tensor
    approx_kl: Tensor  # k3 of KL(sampling policy || new policy)
    clipped: Tensor  # tokens whose gradient is clipped: to 0, or in `cispo_loss` to the cap


@dataclass(frozen=True)
class ValueLoss:
    """Sums over response tokens. `loss` has a gradient."""

    loss: Tensor
    clipped: Tensor


def policy_loss(
    new_logprobs: Tensor,
    logprobs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    clip_range: float,
    clip_range_high: float | None = None,
    importance_level: ImportanceLevel = "token",
    dual_clip: float | None = None,
    weights: Tensor | None = None,
) -> PolicyLoss:
    """Clipped surrogate loss (https://arxiv.org/abs/1707.06347, eq. 7), as a sum.

        ρ = exp(new_logprobs - logprobs)
        loss = Σ max(-A ρ, -A clip(ρ, 1 - clip_range, 1 + clip_range_high))

    A `clip_range_high` above `clip_range` lets unlikely tokens gain more probability (clip-higher,
    DAPO: https://arxiv.org/abs/2503.14476, 3.1). With `importance_level` sequence, ρ is the ratio
    of the whole response; see `sequence_log_ratio`. `dual_clip` c > 1 bounds the loss of tokens
    with A < 0 at -c A (https://arxiv.org/abs/1912.09729, eq. 5), where ρ alone would let it grow
    without limit. The log-ratio is clamped to ±20. The mask leaves out padding, whatever its
    values.

    Args:
        new_logprobs: float [B, R], of the policy being trained; the only one with a gradient.
        logprobs: float [B, R], of the sampling policy.
        advantages: float [B, R].
        response_mask: bool [B, R].
        clip_range: largest fall of the ratio below 1.
        clip_range_high: largest rise of it above 1; None for clip_range.
        importance_level: whether each token has its own ratio, or its response's.
        dual_clip: see above; None for no bound.
        weights: float [B, R], multiply each token's loss but not the metrics; see
            `importance_weights`.
    """
    log_ratio = _log_ratio(new_logprobs, logprobs, response_mask)
    of_tokens = log_ratio.detach()
    if importance_level == "sequence":
        log_ratio = sequence_log_ratio(log_ratio, response_mask)
    ratio = log_ratio.exp()
    high = clip_range if clip_range_high is None else clip_range_high
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + high)
    loss = torch.maximum(unclipped, clipped)
    if dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    if weights is not None:
        loss = loss * weights
    return _with_metrics(loss, ratio, of_tokens, clipped > unclipped, response_mask)


def cispo_loss(
    new_logprobs: Tensor,
    logprobs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    clip_range_high: float,
    weights: Tensor | None = None,
) -> PolicyLoss:
    """Policy gradient with clipped importance weights (CISPO: arXiv 2506.13585), as a sum.

        loss = -Σ w A new_logprobs,  w = min(ρ, 1 + clip_range_high) without gradient

    Every token keeps a gradient, where PPO's clip sets it to 0. There is no lower bound, as in the
    paper's experiments. Arguments and metrics as in `policy_loss`.
    """
    log_ratio = _log_ratio(new_logprobs, logprobs, response_mask).detach()
    ratio = log_ratio.exp()
    loss = -ratio.clamp(max=1 + clip_range_high) * advantages
    loss = loss * torch.where(response_mask, new_logprobs, 0.0)
    if weights is not None:
        loss = loss * weights
    return _with_metrics(loss, ratio, log_ratio, ratio > 1 + clip_range_high, response_mask)


def sequence_log_ratio(log_ratio: Tensor, response_mask: Tensor) -> Tensor:
    """log s of every token, with s its response's ratio (GSPO: https://arxiv.org/abs/2507.18071).

        s   = exp(Σ log-ratio / length)
        s_t = s without gradient * ρ_t / ρ_t without gradient      (GSPO-token)

    The values are those of s. The gradient is that of GSPO where a response has one advantage, and
    that of GSPO-token where its tokens have different ones. Float [B, R]; mask: bool.
    """
    lengths = response_mask.sum(1, keepdim=True).clamp(min=1)
    of_response = torch.where(response_mask, log_ratio, 0.0).sum(1, keepdim=True) / lengths
    return of_response.detach() + log_ratio - log_ratio.detach()


def _log_ratio(new_logprobs: Tensor, logprobs: Tensor, response_mask: Tensor) -> Tensor:
    """new_logprobs - logprobs within ±20, 0 on padding."""
    # Padding is set to 0 before exp(): a NaN there would reach the gradient through where().
    log_ratio = torch.where(response_mask, new_logprobs - logprobs, 0.0)
    return log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _with_metrics(
    loss: Tensor, ratio: Tensor, log_ratio: Tensor, clipped: Tensor, response_mask: Tensor
) -> PolicyLoss:
    """Sums of the loss and its metrics. log_ratio: of tokens, without gradient."""
    return PolicyLoss(
        loss=masked_sum(loss, response_mask),
        ratio=masked_sum(ratio.detach(), response_mask),
        approx_kl=masked_sum(log_ratio.expm1() - log_ratio, response_mask),
        clipped=masked_sum(clipped.float(), response_mask),
    )


def kl_loss(
    new_logprobs: Tensor,
    ref_logprobs: Tensor,
    response_mask: Tensor,
    *,
    estimator: KLEstimator,
    weights: Tensor | None = None,
) -> Tensor:
    """Σ of the estimator of KL(policy || reference), as a loss, with each token's weight.

    What matters in a loss is its gradient (https://arxiv.org/abs/2510.01555). On tokens of the
    policy being trained the mean gradient of k2 is that of the KL, that of k3 is the one of
    KL(reference || policy), and that of k1 is 0. Tokens of an earlier policy have to be weighted by
    the ratio to it; see `kl_weights`. k3 without weights is GRPO's penalty (arXiv 2402.03300,
    eq. 4). The log-ratio is clamped to ±20, so that exp() of a token that the policy no longer
    produces stays finite.

    All float [B, R]; only `new_logprobs` has a gradient.
    """
    log_ratio = _log_ratio(new_logprobs, ref_logprobs, response_mask)
    kl = estimate_kl(log_ratio, torch.zeros_like(log_ratio), estimator=estimator)
    return masked_sum(kl if weights is None else kl * weights, response_mask)


def kl_weights(new_logprobs: Tensor, logprobs: Tensor, response_mask: Tensor) -> Tensor:
    """exp(new_logprobs - logprobs) of each token without gradient, float [B, R].

    With it the gradient of k2 is unbiased on tokens of the sampling policy, given the tokens
    before them. ρ k2 with ρ fixed has the gradient ρ (new_logprobs - ref_logprobs) in each token,
    as has ρ k3 with the gradient of ρ (DeepSeek-V3.2: https://arxiv.org/abs/2512.02556; TRL's
    `use_bias_correction_kl`). Arguments as in `importance_weights`.
    """
    return importance_weights(new_logprobs, logprobs, response_mask, cap=math.inf)


def value_loss(
    new_values: Tensor,
    values: Tensor,
    returns: Tensor,
    response_mask: Tensor,
    *,
    value_clip_range: float | None,
) -> ValueLoss:
    """Clipped value loss (Ouyang et al. 2022; first in OpenAI's baselines), as a sum.

        loss = ½ Σ max((v - R)², (clip(v, v_old ± value_clip_range) - R)²)

    Args:
        new_values: float [B, R], of the critic being trained; the only one with a gradient.
        values: float [B, R], of the critic at the time of sampling.
        returns: float [B, R].
        response_mask: bool [B, R].
        value_clip_range: largest change of a value; None does not clip.
    """
    error = torch.where(response_mask, new_values - returns, 0.0) ** 2
    if value_clip_range is None:
        return ValueLoss(masked_sum(error, response_mask) / 2, torch.zeros((), device=error.device))
    limited = values + (new_values - values).clamp(-value_clip_range, value_clip_range)
    limited_error = torch.where(response_mask, limited - returns, 0.0) ** 2
    return ValueLoss(
        loss=masked_sum(torch.maximum(error, limited_error), response_mask) / 2,
        clipped=masked_sum((limited_error > error).float(), response_mask),
    )
