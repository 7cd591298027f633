"""KL of a policy from its reference, exact over the vocabulary at each sampled prefix."""

import torch
from torch import Tensor

from rlhf.models.forward import response_logits, score_rows
from rlhf.models.protocols import CausalLM
from rlhf.models.sequences import Sequences
from rlhf.types import PromptBatch

# Two [N, V] tables of log-probs are held at once; with a vocabulary of 150,000 this is 2.5 GB.
MAX_TOKENS = 2048


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
        logprobs = _logprobs(policy, sequences, temperature)
        ref_logprobs = _logprobs(reference, sequences, temperature)
        return sequences.as_columns((logprobs.exp() * (logprobs - ref_logprobs)).sum(-1))

    per_token = score_rows(token_kl, batch, response_ids, response_mask, max_tokens=MAX_TOKENS)
    return per_token.double().sum(1)


def _logprobs(model: CausalLM, sequences: Sequences, temperature: float) -> Tensor:
    """[N, V] at the positions that predict response tokens."""
    return torch.log_softmax(response_logits(model, sequences).float() / temperature, dim=-1)
