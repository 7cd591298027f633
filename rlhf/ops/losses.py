"""PPO's losses, summed over response tokens; the caller divides by the global token count."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.ops.kl import KLEstimator, estimate_kl
from rlhf.ops.masking import masked_sum

LOG_RATIO_LIMIT = 20.0  # exp(20) is 4.9e8: larger ratios are a broken step, not a gradient


@dataclass(frozen=True)
class PolicyLoss:
    """Sums over response tokens. `loss` has a gradient, the others are metrics."""

    loss: Tensor
    ratio: Tensor
    approx_kl: Tensor  # k3 of KL(sampling policy || new policy)
    clipped: Tensor  # tokens whose gradient is clipped to 0


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
    dual_clip: float | None = None,
    weights: Tensor | None = None,
) -> PolicyLoss:
    """Clipped surrogate loss (https://arxiv.org/abs/1707.06347, eq. 7), as a sum.

        ρ = exp(new_logprobs - logprobs)
        loss = Σ max(-A ρ, -A clip(ρ, 1 - clip_range, 1 + clip_range))

    `dual_clip` c > 1 bounds the loss of tokens with A < 0 at -c A (https://arxiv.org/abs/1912.09729,
    eq. 5), where ρ alone would let it grow without limit. The log-ratio is clamped to ±20.
    The mask leaves out padding, whatever its values.

    Args:
        new_logprobs: float [B, R], of the policy being trained; the only one with a gradient.
        logprobs: float [B, R], of the sampling policy.
        advantages: float [B, R].
        response_mask: bool [B, R].
        clip_range: largest change of the ratio from 1.
        dual_clip: see above; None for no bound.
        weights: float [B, R], multiply each token's loss but not the metrics; see
            `importance_weights`.
    """
    # Padding is set to 0 before exp(): a NaN there would reach the gradient through where().
    log_ratio = torch.where(response_mask, new_logprobs - logprobs, 0.0)
    log_ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    loss = torch.maximum(unclipped, clipped)
    if dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    if weights is not None:
        loss = loss * weights
    with torch.no_grad():
        k3 = log_ratio.expm1() - log_ratio
        taken = (clipped > unclipped).float()
    return PolicyLoss(
        loss=masked_sum(loss, response_mask),
        ratio=masked_sum(ratio.detach(), response_mask),
        approx_kl=masked_sum(k3, response_mask),
        clipped=masked_sum(taken, response_mask),
    )


def importance_weights(
    train_logprobs: Tensor, rollout_logprobs: Tensor, response_mask: Tensor, *, cap: float
) -> Tensor:
    """min(exp(train_logprobs - rollout_logprobs), cap), float [B, R], without gradient.

    Corrects for tokens that were sampled by another forward pass than the training one (other
    kernels, other precision): importance sampling, truncated at `cap` so that no token outweighs a
    batch (Ionides 2008). 1 on padding. All float [B, R]; mask: bool.
    """
    log_ratio = torch.where(response_mask, train_logprobs - rollout_logprobs, 0.0).detach()
    return log_ratio.clamp(max=LOG_RATIO_LIMIT).exp().clamp(max=cap)


def kl_loss(
    new_logprobs: Tensor, ref_logprobs: Tensor, response_mask: Tensor, *, estimator: KLEstimator
) -> Tensor:
    """Σ of the estimator of KL(policy || reference), as a loss (GRPO: arXiv 2402.03300, eq. 4).

    k1 is useless here: the mean of its gradient over tokens of the policy is 0. k2 has the exact
    KL's gradient on tokens of the policy; k3 is GRPO's. The log-ratio is clamped to ±20, so that
    exp() of a token that the policy no longer produces stays finite.

    All float [B, R]; only `new_logprobs` has a gradient.
    """
    log_ratio = torch.where(response_mask, new_logprobs - ref_logprobs, 0.0)
    log_ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    kl = estimate_kl(log_ratio, torch.zeros_like(log_ratio), estimator=estimator)
    return masked_sum(kl, response_mask)


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
