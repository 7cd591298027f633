"""The terms of PPO's loss for some rows, as sums over their response tokens."""

from torch import Tensor

from rlhf.ops.losses import kl_loss, policy_loss, value_loss
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import Experience

Sums = dict[str, Tensor]
"""Name of a figure -> its sum over the rows' response tokens."""


def policy_term(
    experience: Experience, rows: Tensor, new_logprobs: Tensor, config: PPOConfig
) -> tuple[Tensor, Sums]:
    """The clipped policy loss, and GRPO's KL penalty where it stands in the loss.

    rows: long [N], of the experience; new_logprobs: float [N, R], with gradient.
    """
    rollouts, mask = experience.rollouts, experience.rollouts.response_mask[rows]
    policy = policy_loss(
        new_logprobs,
        rollouts.logprobs[rows],
        experience.advantages[rows],
        mask,
        clip_range=config.clip_range,
        dual_clip=config.dual_clip,
        weights=rollouts.weights[rows],
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
        new_logprobs, experience.ref_logprobs[rows], mask, estimator=config.penalty_estimator
    )
    return policy.loss + experience.kl_loss_coef * penalty, sums | {"kl_loss": penalty}


def value_term(
    experience: Experience, rows: Tensor, new_values: Tensor, config: PPOConfig
) -> tuple[Tensor, Sums]:
    """vf_coef times the clipped value loss. rows, new_values: as in `policy_term`."""
    value = value_loss(
        new_values,
        experience.values[rows],
        experience.returns[rows],
        experience.rollouts.response_mask[rows],
        value_clip_range=config.value_clip_range,
    )
    sums = {"value_loss": value.loss, "value_clip_fraction": value.clipped}
    return config.vf_coef * value.loss, sums
