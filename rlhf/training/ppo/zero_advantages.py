"""Rows whose advantages are 0 add exactly 0 to the gradient: the update does not read them."""

from rlhf.training.ppo.config import PPOConfig
from rlhf.types import Minibatch


def only_advantages_train(config: PPOConfig, kl_coef: float) -> bool:
    """Whether a row with advantages of 0 has a loss without a gradient.

    kl_coef: that of this iteration.
    """
    has_kl_term = config.kl_in_loss and kl_coef != 0
    return not config.has_critic and not has_kl_term and config.entropy_coef == 0


def without_zero_advantages(minibatch: Minibatch, at_least: int) -> Minibatch:
    """The rows whose advantages are not all 0, in their order.

    Left out are the responses of groups with equal scores, and those that the loss leaves out.

    at_least: rows that stay in any case; a rank without one would hang the others.
    """
    weights = minibatch.loss_weights * minibatch.action_mask
    is_zero = (minibatch.advantages * weights == 0).all(dim=1)
    order = is_zero.long().argsort(stable=True)
    count = max(int((~is_zero).sum()), min(at_least, len(is_zero)))
    return minibatch.select(order[:count].sort().values)
