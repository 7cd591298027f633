"""Log-probabilities of chosen tokens."""

import torch
from torch import Tensor


def token_logprobs(logits: Tensor, tokens: Tensor, *, temperature: float) -> Tensor:
    """log softmax(logits / temperature) at `tokens`, in float32.

    One temperature serves rollout, reference and update: a policy sampled at 0.7 and trained
    at 1.0 is another policy, and its first ratio is not 1.

    logits: float [N, V]; tokens: long [N]. Returns float32 [N].
    """
    # Not divided by 1: a copy of [N, V] here and one in the backward pass.
    scaled = logits.float() if temperature == 1 else logits.float() / temperature
    # cross_entropy fuses log-softmax and gather: one [N, V] buffer kept for backward, not two.
    return -torch.nn.functional.cross_entropy(scaled, tokens, reduction="none")
