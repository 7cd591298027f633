"""How the losses of response tokens become one loss: a weight per token, and a denominator."""

import torch
from torch import Tensor

from rlhf.types import LossType as LossType


def token_weights(loss_mask: Tensor, loss_type: LossType) -> Tensor:
    """The weight of each token's loss in the sum, float [B, R]; see `loss_denominator`.

    1 / length of its response with sequence-mean, else 1; 0 where `loss_mask` is False.
    """
    weights = loss_mask.float()
    if loss_type == "sequence-mean":
        return weights / loss_mask.sum(1, keepdim=True).clamp(min=1)
    return weights


def loss_denominator(
    loss_mask: Tensor,
    loss_type: LossType,
    *,
    max_length: int,
    tokens_per_minibatch: float | Tensor,
) -> Tensor:
    """What the weighted sum over a minibatch is divided by, a float scalar.

        token-mean      Σ l / tokens of the minibatch        (DAPO, arXiv 2503.14476)
        sequence-mean   Σ (Σ l / length) / responses         (GRPO, arXiv 2402.03300, eq. 3)
        dr_grpo         Σ l / (responses * max_length)       (Dr. GRPO, arXiv 2503.20783)
        dapo            Σ l / tokens_per_minibatch           (TRL's loss_type dapo)

    With token-mean a token weighs more in a minibatch of short responses; dapo weighs all tokens
    of an iteration alike. A response whose tokens are all masked counts as a response, not as
    tokens.

    Args:
        loss_mask: bool [N, R], the response tokens of the minibatch that are trained on.
        loss_type: see above.
        max_length: the longest response that is allowed, in tokens.
        tokens_per_minibatch: trained tokens of the iteration / its minibatches.
    """
    if loss_type == "sequence-mean":
        count: float | Tensor = len(loss_mask)
    elif loss_type == "dr_grpo":
        count = len(loss_mask) * max_length
    else:
        count = loss_mask.sum() if loss_type == "token-mean" else tokens_per_minibatch
    return torch.as_tensor(count, dtype=torch.float32, device=loss_mask.device).clamp(min=1)
