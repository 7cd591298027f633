"""How far a policy has moved from its reference, exactly where it went."""

from typing import Any

import torch
from torch import Tensor

from rlhf.models.forward import Sequences, response_logits, score_rows
from rlhf.types import PromptBatch

# Two [N, V] tables of log-probs are held at once; of a vocabulary of 150,000 this is 2.5 GB.
MAX_TOKENS = 2048


def sequence_kl(
    policy: Any,
    reference: Any,
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """sum_t KL(policy(.|prefix_t) || reference(.|prefix_t)) along each response, nats, float [B].

    For responses sampled from the policy its mean is the KL of whole responses (chain rule), as
    is the mean of sum_t log(policy/reference) of the sampled tokens; summing over the vocabulary
    at each step takes the tokens' own noise out of it (Rao-Blackwell), and no response is below 0.

    policy, reference: causal language models of one vocabulary. response_ids, response_mask:
        [B, R], right-padded, EOS included.
    """

    def token_kl(sequences: Sequences) -> Tensor:
        ours = _logprobs(policy, sequences, temperature)
        theirs = _logprobs(reference, sequences, temperature)
        return sequences.as_columns((ours.exp() * (ours - theirs)).sum(-1))

    each = score_rows(token_kl, batch, response_ids, response_mask, max_tokens=MAX_TOKENS)
    return each.double().sum(1)


def _logprobs(model: Any, sequences: Sequences, temperature: float) -> Tensor:
    """[N, V] at the places that predict response tokens."""
    return torch.log_softmax(response_logits(model, sequences).float() / temperature, dim=-1)
