"""Prompts and responses as rows for a causal forward pass, padded or packed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlhf.ops.masking import left_justified, length_mask
from rlhf.types import Minibatch

# Sizes are rounded up to these: oneDNN keeps the kernels of every bf16 shape forever, about a
# megabyte each, and a GPU's tensor cores are faster at multiples of 8.
WIDTH_MULTIPLE, PLACES_MULTIPLE = 8, 32
# Share of tokens that packing leaves out; below it, packing costs more than it saves.
WORTH_PACKING = 0.1


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Rows for a causal forward pass without an attention mask, and where to read its output.

    Packed, they are one row without padding, in which rows with equal prompts share one copy of
    the prompt. Only for models that `reads_packed_rows` accepts.
    """

    ids: Tensor  # long [B, T], prompt + response from column 0, padded on the right
    rows: Tensor  # long [N], with `columns`: the position that predicts each response token
    columns: Tensor  # long [N]
    tokens: Tensor  # long [N], the response tokens: response_mask.sum() of them, then padding
    response_mask: Tensor  # bool [B, R]
    position_ids: Tensor | None = None  # long [1, T], where packed
    # long [1, 1, B, longest], where packed: the place of each row's tokens in T, -1 for padding.
    cells: Tensor | None = None

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
        packed: whether to pack the rows if padding and repeated prompts are a large share of them.
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
    if not packed:
        return sequences
    first_rows = _first_rows(prompt_ids, prompt_mask)
    return _packed(sequences, prompt_mask.sum(1), response_mask.sum(1), first_rows)


@dataclass(frozen=True)
class SharedPrompts:
    """Which rows have equal prompts."""

    first_rows: Tensor  # long [B], the first row with the same prompt
    lengths: Tensor  # long [B], tokens of the prompt

    def select(self, rows: Tensor) -> "SharedPrompts":
        """Of these rows; `first_rows` then only tells prompts apart."""
        return SharedPrompts(self.first_rows[rows], self.lengths[rows])


def find_shared_prompts(prompt_ids: Tensor, prompt_mask: Tensor) -> SharedPrompts | None:
    """Rows with equal prompts; None if there are none.

    prompt_ids: long [B, P]; prompt_mask: bool [B, P].
    """
    first_rows = _first_rows(prompt_ids, prompt_mask)
    if bool((first_rows == _numbers(first_rows)).all()):
        return None
    return SharedPrompts(first_rows, prompt_mask.sum(1))


def _first_rows(prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
    """The first row with the same prompt as each row, long [B]."""
    prompts = prompt_ids.masked_fill(~prompt_mask, -1)
    groups = torch.unique(prompts, dim=0, return_inverse=True)[1]
    first: Tensor = (groups[:, None] == groups).long().argmax(1)
    return first


def sequences_of(minibatch: Minibatch, *, packed: bool = False) -> Sequences:
    """`as_sequences` of a minibatch."""
    return as_sequences(
        minibatch.prompt_ids,
        minibatch.prompt_mask,
        minibatch.response_ids,
        minibatch.response_mask,
        packed=packed,
    )


def _packed(
    sequences: Sequences, prompt_lengths: Tensor, response_lengths: Tensor, first_rows: Tensor
) -> Sequences:
    """The rows as one packed row, if that leaves out a large share of their tokens.

    Args:
        sequences: the rows, padded.
        prompt_lengths: long [B].
        response_lengths: long [B].
        first_rows: long [B], the first row with the same prompt.
    """
    width = sequences.ids.shape[1]
    own = length_mask(prompt_lengths + response_lengths, width)
    copied = length_mask(prompt_lengths, width) & (first_rows != _numbers(first_rows))[:, None]
    first = own & ~copied
    left_out = sequences.ids.numel() - int(first.sum())
    if left_out < WORTH_PACKING * sequences.ids.numel():
        return sequences
    places = (first.flatten().cumsum(0) - 1).view_as(first)
    places = torch.where(copied, places[first_rows], places)
    ids = sequences.ids[first]
    padding = (0, -len(ids) % PLACES_MULTIPLE)
    return replace(
        sequences,
        ids=pad(ids, padding)[None],
        position_ids=pad(first.nonzero()[:, 1], padding)[None],
        cells=places.masked_fill(~own, -1)[None, None],
        rows=torch.zeros_like(sequences.rows),
        columns=places[sequences.rows, sequences.columns],
    )


def _numbers(rows: Tensor) -> Tensor:
    return torch.arange(len(rows), device=rows.device)
