"""Forward passes over prompt + response that compute nothing for padding or for prompt logits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rlhf.models.protocols import CausalLM
from rlhf.ops.logprobs import token_logprobs
from rlhf.ops.masking import left_justified, length_mask
from rlhf.types import Minibatch, PromptBatch

# Sizes are rounded up to these: oneDNN keeps kernels of every shape that it has met in bf16, about
# a megabyte a shape and for good, and a GPU's tensor cores like multiples of 8.
WIDTH_MULTIPLE, PLACES_MULTIPLE = 8, 32
PADDING_WORTH_PACKING = 0.1  # of the places; less costs no more than going to rows and back


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Rows ready for a causal forward without an attention mask, and where to read them.

    Packed they are one row: T is then the sum of all lengths, not the longest. Only a model that
    `reads_packed_rows` may be given such.
    """

    ids: Tensor  # long [B, T], prompt + response from column 0, padded on the right
    rows: Tensor  # long [N], with `columns`: the place that predicts each response token
    columns: Tensor  # long [N]
    tokens: Tensor  # long [N], the response tokens: response_mask.sum() of them, then padding
    response_mask: Tensor  # bool [B, R]
    position_ids: Tensor | None = None  # long [1, T], where packed
    cells: Tensor | None = None  # bool [1, 1, B, longest], where packed: each row's own columns

    @property
    def inputs(self) -> dict[str, Tensor | None]:
        """What a model of transformers is called with."""
        return {
            "input_ids": self.ids,
            "position_ids": self.position_ids,
            "attention_mask": self.cells,
        }

    def at_responses(self, hidden: Tensor) -> Tensor:
        """[N, …] of [B, T, …]: the states that predict the response tokens."""
        return hidden[self.rows, self.columns]

    def as_columns(self, flat: Tensor) -> Tensor:
        """[B, R] of [N]: column t speaks of response token t; 0 on padding. Differentiable.

        What stands behind the response tokens' N is left out, and gets a gradient of 0.
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
    """Lay out prompts (left-padded [B, P]) and responses (right-padded [B, R])."""
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
    """The same rows end to end, as one, where much of them is padding; lengths: long [B]."""
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

    max_tokens: prompt and response tokens of one forward; bounds memory, changes no value.
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
    """`function` of all rows, float32 [B, R], computed in microbatches of like length."""
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

    A row longer than that comes alone. lengths: long [B].
    """
    groups: list[list[int]] = []
    # Longest first: what does not fit into memory fails at the start.
    for row in lengths.argsort(descending=True, stable=True).tolist():
        if groups and (len(groups[-1]) + 1) * int(lengths[groups[-1][0]]) <= max_tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [torch.tensor(group, device=lengths.device) for group in groups]


def partition_rows(lengths: Tensor, num_processes: int, max_tokens: int) -> list[list[Tensor]]:
    """For each process its microbatches: rows dealt out by length, so that all get like amounts.

    Each process can tell all shares, and so how many microbatches another one makes.
    """
    by_length = lengths.argsort(descending=True, stable=True)
    dealt = [by_length[process::num_processes] for process in range(num_processes)]
    return [[rows[group] for group in microbatches(lengths[rows], max_tokens)] for rows in dealt]


def microbatch_schedule(
    dealt: list[list[Tensor]], process: int, *, alike: bool
) -> Iterator[tuple[Tensor, float, bool]]:
    """(rows, weight, last?) of each microbatch of a process, from `partition_rows`.

    alike: every process makes as many; one that has fewer reads a row again, with weight 0.
    """
    mine = dealt[process]
    count = max(map(len, dealt)) if alike else len(mine)
    for index in range(count):
        again = index >= len(mine)
        rows = mine[-1][:1] if again else mine[index]
        yield rows, 0.0 if again else 1.0, index == count - 1


def response_logits(model: CausalLM, sequences: Sequences) -> Tensor:
    """Logits [N, V] of the places that predict response tokens."""
    return states_and_logits(model, sequences)[1]


def states_and_logits(model: CausalLM, sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Last hidden states [N, D] and logits [N, V] of the places that predict response tokens.

    The output layer is handed only those places, so that [B, T, V] never exists. A hook, since
    what a model does after its output layer (soft-capping, scaling) stays in its own forward.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        kept.append(sequences.at_responses(inputs[0]))
        return (kept[0], *inputs[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        logits = model(**sequences.inputs, use_cache=False).logits
    finally:
        handle.remove()
    return kept[0], logits
