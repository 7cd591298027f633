"""Forward passes over prompt + response that skip padding and the logits of prompts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rlhf.models.protocols import CausalLM
from rlhf.ops.logprobs import token_logprobs
from rlhf.ops.masking import left_justified, length_mask
from rlhf.types import Minibatch, PromptBatch

# Sizes are rounded up to these: oneDNN keeps the kernels of every bf16 shape forever, about a
# megabyte each, and a GPU's tensor cores are faster at multiples of 8.
WIDTH_MULTIPLE, PLACES_MULTIPLE = 8, 32
PADDING_WORTH_PACKING = 0.1  # share of padding; below it, packing costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Rows for a causal forward pass without an attention mask, and where to read its output.

    Packed, they are one row, and T is the sum of all lengths. Only for models that
    `reads_packed_rows` accepts.
    """

    ids: Tensor  # long [B, T], prompt + response from column 0, padded on the right
    rows: Tensor  # long [N], with `columns`: the position that predicts each response token
    columns: Tensor  # long [N]
    tokens: Tensor  # long [N], the response tokens: response_mask.sum() of them, then padding
    response_mask: Tensor  # bool [B, R]
    position_ids: Tensor | None = None  # long [1, T], where packed
    cells: Tensor | None = None  # bool [1, 1, B, longest], where packed: each row's own columns

    @property
    def inputs(self) -> dict[str, Tensor | None]:
        """Keyword arguments of a transformers model."""
        return {
            "input_ids": self.ids,
            "position_ids": self.position_ids,
            "attention_mask": self.cells,
        }

    def at_responses(self, hidden: Tensor) -> Tensor:
        """[N, …] of [B, T, …]: the states that predict the response tokens."""
        return hidden[self.rows, self.columns]

    def as_columns(self, flat: Tensor) -> Tensor:
        """[B, R] of [N]: column t is about response token t; 0 on padding. Differentiable.

        The padding of [N] behind the response tokens is left out, and gets a gradient of 0.
        """
        zeros = torch.zeros(self.response_mask.shape, dtype=flat.dtype, device=flat.device)
        return zeros.masked_scatter(self.response_mask, flat)


def as_sequences(
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    packed: bool = False,
) -> Sequences:
    """Prompts and responses as rows.

    Args:
        prompt_ids: long [B, P], padded on the left.
        prompt_mask: bool [B, P].
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        packed: whether to pack the rows if padding is a large share of them.
    """
    ids, rows, columns = left_justified(
        prompt_ids, prompt_mask, response_ids, response_mask, multiple=WIDTH_MULTIPLE
    )
    padding = (0, -len(rows) % PLACES_MULTIPLE)
    sequences = Sequences(
        ids=ids,
        rows=pad(rows, padding),
        columns=pad(columns, padding),
        tokens=pad(response_ids[response_mask], padding),
        response_mask=response_mask,
    )
    return _packed(sequences, prompt_mask.sum(1) + response_mask.sum(1)) if packed else sequences


def sequences_of(minibatch: Minibatch, *, packed: bool = False) -> Sequences:
    """`as_sequences` of a minibatch."""
    return as_sequences(
        minibatch.prompt_ids,
        minibatch.prompt_mask,
        minibatch.response_ids,
        minibatch.response_mask,
        packed=packed,
    )


def _packed(sequences: Sequences, lengths: Tensor) -> Sequences:
    """The rows as one packed row, if padding is a large share of them; lengths: long [B]."""
    places = sequences.ids.numel()
    if places - int(lengths.sum()) < PADDING_WORTH_PACKING * places:
        return sequences
    cells = length_mask(lengths, sequences.ids.shape[1])
    ids = sequences.ids[cells]
    padding = (0, -len(ids) % PLACES_MULTIPLE)
    starts = lengths.cumsum(0) - lengths
    return replace(
        sequences,
        ids=pad(ids, padding)[None],
        position_ids=pad(cells.nonzero()[:, 1], padding)[None],
        cells=cells[None, None],
        rows=torch.zeros_like(sequences.rows),
        columns=starts[sequences.rows] + sequences.columns,
    )


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
) -> Tensor:
    """Log-probs of the responses under `model`, float32 [B, R], 0 on padding, no gradient.

    Args:
        model: the language model.
        batch: the prompts.
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        temperature: divides the logits.
        max_tokens: prompt and response tokens of one forward pass: memory, never values.
    """

    def logprobs(sequences: Sequences) -> Tensor:
        return policy_logprobs(model, sequences, temperature=temperature)

    return score_rows(logprobs, batch, response_ids, response_mask, max_tokens=max_tokens)


@torch.no_grad()
def score_rows(
    function: Callable[[Sequences], Tensor],
    batch: PromptBatch,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    max_tokens: int,
) -> Tensor:
    """`function` of all rows, float32 [B, R], computed in microbatches of similar length.

    Args:
        function: returns float [b, R] of the sequences of some rows.
        batch: the prompts.
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        max_tokens: prompt and response tokens of one microbatch.
    """
    result = torch.zeros(response_mask.shape, device=response_mask.device)
    lengths = batch.attention_mask.sum(1) + response_mask.sum(1)
    for rows in microbatches(lengths, max_tokens):
        sequences = as_sequences(
            batch.input_ids[rows],
            batch.attention_mask[rows],
            response_ids[rows],
            response_mask[rows],
        )
        result[rows] = function(sequences)
    return result


def microbatches(lengths: Tensor, max_tokens: int) -> list[Tensor]:
    """Row indices sorted by length and cut so that rows * longest is at most `max_tokens`.

    A longer row is a group by itself. lengths: long [B].
    """
    groups: list[list[int]] = []
    # Longest first: a batch that does not fit into memory fails at the start.
    for row in lengths.argsort(descending=True, stable=True).tolist():
        if groups and (len(groups[-1]) + 1) * int(lengths[groups[-1][0]]) <= max_tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [torch.tensor(group, device=lengths.device) for group in groups]


def partition_rows(lengths: Tensor, num_processes: int, max_tokens: int) -> list[list[Tensor]]:
    """The microbatches of each process: rows are dealt by length, so that shares are similar.

    Every process knows all shares, and so the number of microbatches of the others.
    """
    by_length = lengths.argsort(descending=True, stable=True)
    dealt = [by_length[process::num_processes] for process in range(num_processes)]
    return [[rows[group] for group in microbatches(lengths[rows], max_tokens)] for rows in dealt]


def microbatch_schedule(
    dealt: list[list[Tensor]], process: int, *, alike: bool
) -> Iterator[tuple[Tensor, float, bool]]:
    """(rows, weight, whether it is the last) of each microbatch of a process.

    Args:
        dealt: the microbatches of all processes, from `partition_rows`.
        process: index of this process.
        alike: whether all processes make the same number of microbatches; a process with fewer
            repeats a row with weight 0.
    """
    own = dealt[process]
    count = max(map(len, dealt)) if alike else len(own)
    for index in range(count):
        repeated = index >= len(own)
        rows = own[-1][:1] if repeated else own[index]
        yield rows, 0.0 if repeated else 1.0, index == count - 1


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
