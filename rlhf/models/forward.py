"""Forward passes over prompt + response that skip padding and the logits of prompts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rlhf.models.microbatches import microbatches
from rlhf.models.protocols import CausalLM
from rlhf.models.sequences import Sequences, as_sequences, find_shared_prompts
from rlhf.ops.logprobs import token_logprobs
from rlhf.types import PromptBatch


def policy_logprobs(model: CausalLM, sequences: Sequences, *, temperature: float) -> Tensor:
    """Log-probs of the response tokens, float32 [B, R], with gradient where it is enabled."""
    logits = response_logits(model, sequences)
    flat = token_logprobs(logits, sequences.tokens, temperature=temperature)
    return sequences.as_columns(flat)


def response_logprobs(
    model: CausalLM,
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    temperature: float,
    max_tokens: int = 8192,
    packed: bool = False,
) -> Tensor:
    """Log-probs of the responses under `model`, float32 [B, R], 0 on padding, no gradient.

    Args:
        model: the language model.
        batch: the prompts.
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        temperature: divides the logits.
        max_tokens: prompt and response tokens of one forward pass: memory, never values.
        packed: whether rows with equal prompts may share them.
    """

    def logprobs(sequences: Sequences) -> Tensor:
        return policy_logprobs(model, sequences, temperature=temperature)

    return score_rows(
        logprobs, batch, response_ids, response_mask, max_tokens=max_tokens, packed=packed
    )


@torch.no_grad()
def score_rows(
    function: Callable[[Sequences], Tensor],
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    max_tokens: int,
    packed: bool = False,
) -> Tensor:
    """`function` of all rows, float32 [B, R], computed in microbatches of similar length.

    Args:
        function: returns float [b, R] of the sequences of some rows.
        batch: the prompts.
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        max_tokens: prompt and response tokens of one microbatch.
        packed: whether rows with equal prompts may share them.
    """
    prompts, mask = batch.input_ids, batch.attention_mask
    shared = find_shared_prompts(prompts, mask) if packed else None
    result = torch.zeros(response_mask.shape, device=response_mask.device)
    for rows in microbatches(mask.sum(1) + response_mask.sum(1), max_tokens, shared):
        sequences = as_sequences(
            prompts[rows],
            mask[rows],
            response_ids[rows],
            response_mask[rows],
            packed=shared is not None,
        )
        result[rows] = function(sequences)
    return result


def response_logits(model: CausalLM, sequences: Sequences) -> Tensor:
    """Logits [N, V] of the positions that predict response tokens."""
    return states_and_logits(model, sequences)[1]


def states_and_logits(model: CausalLM, sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Last hidden states [N, D] and logits [N, V] of the positions that predict response tokens.

    The output layer gets only those positions, so that [B, T, V] never exists. A hook does this:
    operations after the output layer (soft-capping, scaling) are in the model's own forward.
    """
    states: list[Tensor] = []

    def select(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states.append(sequences.at_responses(inputs[0]))
        return (states[0], *inputs[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        logits = model(**sequences.inputs, use_cache=False).logits
    finally:
        handle.remove()
    return states[0], logits
