"""Pure tensor maths: tensors and scalars in, tensors out.

import rlhf.ops
advantages, returns = rlhf.ops.gae(rewards, values, response_mask, gamma=1.0, lam=0.95)
"""

from rlhf.ops.accuracy import pairs_in_order, share_with_interval
from rlhf.ops.advantages import gae, grpo, rloo
from rlhf.ops.chunked_head import head_logprobs, head_logprobs_and_entropy
from rlhf.ops.kl import KLEstimator, estimate_kl, kl_k1, kl_k2, kl_k3
from rlhf.ops.logprobs import token_logprobs
from rlhf.ops.losses import (
    PolicyLoss,
    ValueLoss,
    importance_weights,
    kl_loss,
    policy_loss,
    value_loss,
)
from rlhf.ops.masking import left_justified, length_mask, masked_mean, masked_sum
from rlhf.ops.ranking import (
    centering_loss,
    plackett_luce_loss,
    ranking_loss,
    tie_threshold_of,
)
from rlhf.ops.rewards import apply_missing_eos, penalized_rewards
from rlhf.ops.whitening import masked_variance, whiten
from rlhf.types import Ties

__all__ = [
    "KLEstimator",
    "PolicyLoss",
    "Ties",
    "ValueLoss",
    "apply_missing_eos",
    "centering_loss",
    "estimate_kl",
    "gae",
    "grpo",
    "head_logprobs",
    "head_logprobs_and_entropy",
    "importance_weights",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "kl_loss",
    "left_justified",
    "length_mask",
    "masked_mean",
    "masked_sum",
    "masked_variance",
    "pairs_in_order",
    "penalized_rewards",
    "plackett_luce_loss",
    "policy_loss",
    "ranking_loss",
    "rloo",
    "share_with_interval",
    "tie_threshold_of",
    "token_logprobs",
    "value_loss",
    "whiten",
]
