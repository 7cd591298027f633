"""Forward passes over prompt + response that skip padding and the logits of prompts."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlhf.models.microbatches import microbatches
from rlhf.models.output_head import OutputHead, plain_head, replaced_forward
from rlhf.models.protocols import CausalLM
from rlhf.models.sequences import Sequences, as_sequences, find_shared_prompts
from rlhf.ops.chunked_head import rows_at_once
from rlhf.ops.logprobs import row_slices, token_logprobs, token_logprobs_and_entropy
from rlhf.types import PromptBatch


class ResponseOutputs(NamedTuple):
    """Outputs of a forward pass at the response tokens, in the order of `Sequences.tokens`."""

    states: Tensor  # [N, D], the last hidden states at the positions that predict them
    logprobs: Tensor  # float32 [N]
    entropies: Tensor | None  # float32 [N], nats of the predicted distributions, where asked for


def policy_logprobs(model: CausalLM, sequences: Sequences, *, temperature: float) -> Tensor:
    """Log-probs of the response tokens, float32 [B, R], with gradient where it is enabled."""
    flat = response_outputs(model, sequences, temperature=temperature)
    return sequences.as_columns(flat.logprobs)


def response_logprobs(
    model: CausalLM,
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    temperature: float,
    action_mask: Tensor | None = None,
    max_tokens: int = 8192,
    packed: bool = False,
    grows: bool = False,
) -> Tensor:
    """Log-probs of the responses under `model`, float32 [B, R], 0 on padding, no gradient.

    Args:
        model: the language model.
        batch: the prompts.
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        temperature: divides the logits.
        action_mask: as in `score_rows`.
        max_tokens: prompt and response tokens of one forward pass: memory, never values.
        packed: whether rows with equal prompts may share them.
        grows: as in `score_rows`.
    """

    def logprobs(sequences: Sequences) -> Tensor:
        return policy_logprobs(model, sequences, temperature=temperature)

    return score_rows(
        logprobs,
        batch,
        response_ids,
        response_mask,
        action_mask=action_mask,
        max_tokens=max_tokens,
        packed=packed,
        grows=grows,
    )


@torch.no_grad()
def response_logprobs_and_entropies(
    model: CausalLM,
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    temperature: float,
    action_mask: Tensor | None = None,
    max_tokens: int,
    packed: bool = False,
    grows: bool = False,
) -> tuple[Tensor, Tensor]:
    """`response_logprobs`, and the entropies of the distributions; nats, float32 [B, R] each."""
    logprobs = torch.zeros(response_mask.shape, device=response_mask.device)
    entropies = torch.zeros_like(logprobs)
    parts = _parts(
        batch,
        response_ids,
        response_mask,
        action_mask,
        max_tokens=max_tokens,
        packed=packed,
        grows=grows,
    )
    for rows, sequences in parts:
        flat = response_outputs(model, sequences, temperature=temperature, entropy=True)
        assert flat.entropies is not None
        logprobs[rows] = sequences.as_columns(flat.logprobs)
        entropies[rows] = sequences.as_columns(flat.entropies)
    return logprobs, entropies


@torch.no_grad()
def score_rows(
    function: Callable[[Sequences], Tensor],
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    max_tokens: int,
    action_mask: Tensor | None = None,
    packed: bool = False,
    grows: bool = False,
) -> Tensor:
    """`function` of all rows, float32 [B, R], computed in microbatches of similar length.

    Args:
        function: returns float [b, R] of the sequences of some rows.
        batch: the prompts.
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        max_tokens: prompt and response tokens of one microbatch.
        action_mask: bool [B, R], the response tokens to predict; default: all of them.
        packed: whether rows with equal prompts may share them.
        grows: whether a microbatch may have more tokens where rows share long prompts.
    """
    result = torch.zeros(response_mask.shape, device=response_mask.device)
    parts = _parts(
        batch,
        response_ids,
        response_mask,
        action_mask,
        max_tokens=max_tokens,
        packed=packed,
        grows=grows,
    )
    for rows, sequences in parts:
        result[rows] = function(sequences)
    return result


def _parts(
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    action_mask: Tensor | None,
    *,
    max_tokens: int,
    packed: bool,
    grows: bool,
) -> Iterator[tuple[Tensor, Sequences]]:
    """The rows of each microbatch, long [b], and their sequences; arguments as in `score_rows`."""
    prompts, mask = batch.input_ids, batch.attention_mask
    shared = find_shared_prompts(prompts, mask) if packed else None
    lengths = mask.sum(1) + response_mask.sum(1)
    for rows in microbatches(lengths, max_tokens, shared, grows=grows):
        yield (
            rows,
            as_sequences(
                prompts[rows],
                mask[rows],
                response_ids[rows],
                response_mask[rows],
                action_mask=None if action_mask is None else action_mask[rows],
                packed=shared is not None,
            ),
        )


def response_outputs(
    model: CausalLM, sequences: Sequences, *, temperature: float, entropy: bool = False
) -> ResponseOutputs:
    """States, log-probs and, with `entropy`, entropies at the positions of response tokens.

    The logits of many positions are computed for some of them at a time, where the model's
    output layer allows it (`plain_head`).
    """
    head, tokens = _head_of_many(model, sequences), sequences.tokens
    if head is None:
        states, logits = states_and_logits(model, sequences)
        if entropy:
            return ResponseOutputs(
                states, *token_logprobs_and_entropy(logits, tokens, temperature=temperature)
            )
        logprobs = token_logprobs(logits, tokens, temperature=temperature)
        return ResponseOutputs(states, logprobs, None)
    states = _states(model, sequences, head)
    if entropy:
        return ResponseOutputs(
            states, *head.logprobs_and_entropy(states, tokens, temperature=temperature)
        )
    logprobs = head.logprobs(states, tokens, temperature=temperature)
    return ResponseOutputs(states, logprobs, None)


def logits_in_parts(model: CausalLM, sequences: Sequences) -> Iterator[Tensor]:
    """Logits [n, V] of the positions that predict response tokens, some positions at a time."""
    head = _head_of_many(model, sequences)
    if head is None:
        logits = states_and_logits(model, sequences)[1]
        for rows in row_slices(len(logits), rows_at_once(logits.shape[1], logits.device)):
            yield logits[rows]
        return
    states = _states(model, sequences, head)
    for rows in row_slices(len(states), rows_at_once(head.vocabulary, states.device)):
        yield head.logits(states[rows])


def _head_of_many(model: CausalLM, sequences: Sequences) -> OutputHead | None:
    """The output layer, if it is plain and has more positions than it computes at once."""
    weight = model.get_output_embeddings().weight
    many = len(sequences.tokens) > rows_at_once(weight.shape[0], weight.device)
    return plain_head(model) if many else None


def _states(model: CausalLM, sequences: Sequences, head: OutputHead) -> Tensor:
    """Last hidden states [N, D] of the positions that predict response tokens."""
    states: list[Tensor] = []

    def keep(inputs: Tensor) -> Tensor:
        states.append(sequences.at_responses(inputs))
        return inputs.new_zeros(1, 1)  # in place of logits

    with replaced_forward(head.layer, keep):
        model(**sequences.inputs, use_cache=False)
    return states[0]


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
