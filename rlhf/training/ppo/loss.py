"""PPO's losses on a minibatch: the policy's loss with its KL and entropy terms, the value loss."""

from torch import Tensor

from rlhf.ops.losses import (
    PolicyLoss,
    cispo_loss,
    kl_loss,
    kl_weights,
    policy_loss,
    value_loss,
)
from rlhf.ops.masking import masked_sum
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import Minibatch

Sums = dict[str, Tensor]
"""Name of a metric -> its sum over the tokens that the model wrote."""


def policy_terms(
    batch: Minibatch,
    new_logprobs: Tensor,
    config: PPOConfig,
    kl_coef: float,
    entropies: Tensor | None = None,
) -> tuple[Tensor, Sums]:
    """The policy loss, plus the KL penalty where it is in the loss, less the entropy bonus; sums.

    Each token's loss has its weight in `batch.loss_weights`.

    new_logprobs, entropies: float [N, R], with gradient; entropies where there is a bonus.
    """
    policy = _policy_loss(batch, new_logprobs, config)
    loss = policy.loss
    sums = {
        "policy_loss": policy.loss,
        "ratio": policy.ratio,
        "approx_kl": policy.approx_kl,
        "clip_fraction": policy.clipped,
    }
    if config.kl_in_loss:
        sums["kl_loss"] = _kl_loss(batch, new_logprobs, config)
        loss = loss + kl_coef * sums["kl_loss"]
    if entropies is not None:
        bonus = masked_sum(entropies * batch.loss_weights, batch.action_mask)
        loss = loss - config.entropy_coef * bonus
    return loss, sums


def _policy_loss(batch: Minibatch, new_logprobs: Tensor, config: PPOConfig) -> PolicyLoss:
    inputs = new_logprobs, batch.logprobs, batch.advantages, batch.action_mask
    weights = batch.importance_weights * batch.loss_weights
    if config.surrogate == "cispo":
        assert config.clip_range_high is not None
        return cispo_loss(*inputs, clip_range_high=config.clip_range_high, weights=weights)
    return policy_loss(
        *inputs,
        clip_range=config.clip_range,
        clip_range_high=config.clip_range_high,
        importance_level=config.importance_level,
        dual_clip=config.dual_clip,
        weights=weights,
    )


def _kl_loss(batch: Minibatch, new_logprobs: Tensor, config: PPOConfig) -> Tensor:
    """k2 weighted by the ratio to the sampler, for the gradient of the KL; k3 as GRPO has it."""
    mask, weights = batch.action_mask, batch.loss_weights
    if config.penalty_estimator == "k2":
        ratios = kl_weights(new_logprobs, batch.logprobs, mask)
        weights = weights * batch.importance_weights * ratios
    return kl_loss(
        new_logprobs, batch.ref_logprobs, mask, estimator=config.penalty_estimator, weights=weights
    )


def value_terms(batch: Minibatch, new_values: Tensor, config: PPOConfig) -> tuple[Tensor, Sums]:
    """vf_coef times the clipped value loss; sums. new_values: float [N, R], with gradient."""
    assert batch.values is not None
    assert batch.returns is not None
    value = value_loss(
        new_values,
        batch.values,
        batch.returns,
        batch.action_mask,
        value_clip_range=config.value_clip_range,
    )
    sums = {"value_loss": value.loss, "value_clip_fraction": value.clipped}
    return config.vf_coef * value.loss, sums
