"""Pure tensor maths: tensors and scalars in, tensors out.

import rlhf.ops
advantages, returns = rlhf.ops.gae(rewards, values, response_mask, gamma=1.0, lam=0.95)
"""

from rlhf.ops.accuracy import (
    auc_with_interval,
    pairs_in_order,
    preferences_in_order,
    share_with_interval,
)
from rlhf.ops.advantages import (
    dr_grpo,
    gae,
    grpo,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    remax,
    reward_to_go,
    rloo,
    without_spread,
)
from rlhf.ops.chunked_head import head_logprobs, head_logprobs_and_entropy
from rlhf.ops.importance import (
    ImportanceCorrection,
    ImportanceLevel,
    LogprobGap,
    importance_weights,
    logprob_gap,
)
from rlhf.ops.kl import KLEstimator, estimate_kl, kl_k1, kl_k2, kl_k3
from rlhf.ops.logprobs import token_logprobs, token_logprobs_and_entropy
from rlhf.ops.loss_means import LossType, loss_denominator, token_weights
from rlhf.ops.losses import (
    PolicyLoss,
    ValueLoss,
    cispo_loss,
    kl_loss,
    kl_weights,
    policy_loss,
    sequence_log_ratio,
    value_loss,
)
from rlhf.ops.masking import left_justified, length_mask, masked_mean, masked_sum
from rlhf.ops.preference import (
    apo_down_pair_loss,
    apo_zero_pair_loss,
    hinge_pair_loss,
    ipo_pair_loss,
    kto_loss,
    odds_ratio_pair_loss,
    robust_pair_loss,
    sigmoid_pair_loss,
)
from rlhf.ops.ranking import (
    centering_loss,
    plackett_luce_loss,
    ranking_loss,
    soft_ranking_loss,
    tie_threshold_of,
)
from rlhf.ops.rating import expected_verdict, outcome_loss, rating_loss
from rlhf.ops.rewards import (
    apply_missing_eos,
    normalized_sum,
    overlong_penalty,
    penalized_rewards,
)
from rlhf.ops.whitening import masked_variance, whiten
from rlhf.types import Ties

__all__ = [
    "ImportanceCorrection",
    "ImportanceLevel",
    "KLEstimator",
    "LogprobGap",
    "LossType",
    "PolicyLoss",
    "Ties",
    "ValueLoss",
    "apo_down_pair_loss",
    "apo_zero_pair_loss",
    "apply_missing_eos",
    "auc_with_interval",
    "centering_loss",
    "cispo_loss",
    "dr_grpo",
    "estimate_kl",
    "expected_verdict",
    "gae",
    "grpo",
    "head_logprobs",
    "head_logprobs_and_entropy",
    "hinge_pair_loss",
    "importance_weights",
    "ipo_pair_loss",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "kl_loss",
    "kl_weights",
    "kto_loss",
    "left_justified",
    "length_mask",
    "logprob_gap",
    "loss_denominator",
    "masked_mean",
    "masked_sum",
    "masked_variance",
    "normalized_sum",
    "odds_ratio_pair_loss",
    "outcome_loss",
    "overlong_penalty",
    "pairs_in_order",
    "penalized_rewards",
    "plackett_luce_loss",
    "policy_loss",
    "preferences_in_order",
    "ranking_loss",
    "rating_loss",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "remax",
    "reward_to_go",
    "rloo",
    "robust_pair_loss",
    "sequence_log_ratio",
    "share_with_interval",
    "sigmoid_pair_loss",
    "soft_ranking_loss",
    "tie_threshold_of",
    "token_logprobs",
    "token_logprobs_and_entropy",
    "token_weights",
    "value_loss",
    "whiten",
    "without_spread",
]
