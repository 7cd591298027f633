"""KL of a policy from its reference, exact over the vocabulary at each sampled prefix."""

import torch
from torch import Tensor

from rlhf.models.forward import logits_in_parts, score_rows
from rlhf.models.protocols import CausalLM
from rlhf.models.sequences import Sequences
from rlhf.types import PromptBatch

MAX_TOKENS = 2048  # of one forward pass; their logits are compared some positions at a time


def sequence_kl(
    policy: CausalLM,
    reference: CausalLM,
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """sum_t KL(policy(.|prefix_t) || reference(.|prefix_t)) along each response, nats, float [B].

    For responses sampled from the policy, its mean is the KL of whole responses (chain rule). The
    mean of sum_t log(policy/reference) of the sampled tokens estimates the same; summing over the
    vocabulary at each step removes the noise of the sampled tokens (Rao-Blackwell), and no response
    is below 0.

    Args:
        policy: a causal language model.
        reference: another one with the same vocabulary.
        batch: the prompts, one row per response.
        response_ids: long [B, R], right-padded, EOS included.
        response_mask: bool [B, R].
        temperature: of both distributions.
    """

    def token_kl(sequences: Sequences) -> Tensor:
        parts = zip(
            logits_in_parts(policy, sequences), logits_in_parts(reference, sequences), strict=True
        )
        return sequences.as_columns(torch.cat([_kl(*pair, temperature) for pair in parts]))

    per_token = score_rows(token_kl, batch, response_ids, response_mask, max_tokens=MAX_TOKENS)
    return per_token.double().sum(1)


def _kl(logits: Tensor, ref_logits: Tensor, temperature: float) -> Tensor:
    """KL of each position's distribution from the reference's, float32 [n]."""
    logprobs, ref_logprobs = (
        torch.log_softmax(table.float() / temperature, dim=-1) for table in (logits, ref_logits)
    )
    return (logprobs.exp() * (logprobs - ref_logprobs)).sum(-1)
