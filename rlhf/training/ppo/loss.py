"""PPO's losses on a minibatch: the clipped policy loss, GRPO's KL penalty, the value loss."""

from torch import Tensor

from rlhf.ops.losses import kl_loss, policy_loss, value_loss
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import Minibatch

Sums = dict[str, Tensor]
"""Name of a metric -> its sum over response tokens."""


def policy_terms(
    batch: Minibatch, new_logprobs: Tensor, config: PPOConfig, kl_coef: float
) -> tuple[Tensor, Sums]:
    """The clipped policy loss, plus GRPO's KL penalty where the penalty is in the loss; sums.

    new_logprobs: float [N, R], with gradient.
    """
    policy = policy_loss(
        new_logprobs,
        batch.logprobs,
        batch.advantages,
        batch.response_mask,
        clip_range=config.clip_range,
        dual_clip=config.dual_clip,
        weights=batch.importance_weights,
    )
    sums = {
        "policy_loss": policy.loss,
        "ratio": policy.ratio,
        "approx_kl": policy.approx_kl,
        "clip_fraction": policy.clipped,
    }
    if not config.kl_in_loss:
        return policy.loss, sums
    penalty = kl_loss(
        new_logprobs, batch.ref_logprobs, batch.response_mask, estimator=config.penalty_estimator
    )
    return policy.loss + kl_coef * penalty, sums | {"kl_loss": penalty}


def value_terms(batch: Minibatch, new_values: Tensor, config: PPOConfig) -> tuple[Tensor, Sums]:
    """vf_coef times the clipped value loss; sums. new_values: float [N, R], with gradient."""
    assert batch.values is not None
    assert batch.returns is not None
    value = value_loss(
        new_values,
        batch.values,
        batch.returns,
        batch.response_mask,
        value_clip_range=config.value_clip_range,
    )
    sums = {"value_loss": value.loss, "value_clip_fraction": value.clipped}
    return config.vf_coef * value.loss, sums
