"""Prompts and responses as rows for a causal forward pass, padded or packed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlhf.models.packed_rows import PLACES_MULTIPLE, common_beginnings, pack_rows
from rlhf.ops.masking import left_justified
from rlhf.types import Minibatch

WIDTH_MULTIPLE = 8  # rows are rounded up to it, for the reason of PLACES_MULTIPLE


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Rows for a causal forward pass without an attention mask, and where to read its output.

    Packed, they are `PackedRows`.
    """

    ids: Tensor  # long [B, T], prompt + response from column 0, padded on the right
    rows: Tensor  # long [N], with `columns`: the position that predicts each response token
    columns: Tensor  # long [N]
    tokens: Tensor  # long [N], the predicted tokens: action_mask.sum() of them, then padding
    action_mask: Tensor  # bool [B, R], the response tokens that are predicted
    position_ids: Tensor | None = None  # long [1, T], where packed
    cells: Tensor | None = None  # long [1, 1, B, longest], where packed: `PackedRows.places`

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
        """[B, R] of [N]: column t is about response token t; 0 elsewhere. Differentiable.

        The padding of [N] behind the predicted tokens is left out, and gets a gradient of 0.
        """
        zeros = torch.zeros(self.action_mask.shape, dtype=flat.dtype, device=flat.device)
        return zeros.masked_scatter(self.action_mask, flat)


def as_sequences(
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    action_mask: Tensor | None = None,
    packed: bool = False,
) -> Sequences:
    """Prompts and responses as rows.

    Args:
        prompt_ids: long [B, P], padded on the left.
        prompt_mask: bool [B, P].
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        action_mask: bool [B, R], the response tokens to predict; default: all of them.
        packed: whether to pack the rows where that leaves out enough of their tokens.
    """
    ids, rows, columns = left_justified(
        prompt_ids, prompt_mask, response_ids, response_mask, multiple=WIDTH_MULTIPLE
    )
    tokens = response_ids[response_mask]
    if action_mask is not None:
        written = action_mask[response_mask]
        rows, columns, tokens = rows[written], columns[written], tokens[written]
    padding = (0, -len(rows) % PLACES_MULTIPLE)
    sequences = Sequences(
        ids=ids,
        rows=pad(rows, padding),
        columns=pad(columns, padding),
        tokens=pad(tokens, padding),
        action_mask=response_mask if action_mask is None else action_mask,
    )
    if not packed:
        return sequences
    return _packed(sequences, prompt_mask.sum(1) + response_mask.sum(1))


@dataclass(frozen=True)
class SharedPrompts:
    """Which rows begin alike."""

    first_rows: Tensor  # long [B], the first row with the same beginning
    lengths: Tensor  # long [B], tokens of that beginning

    def select(self, rows: Tensor) -> "SharedPrompts":
        """Of these rows; `first_rows` then only tells prompts apart."""
        return SharedPrompts(self.first_rows[rows], self.lengths[rows])


def find_shared_prompts(prompt_ids: Tensor, prompt_mask: Tensor) -> SharedPrompts | None:
    """Rows with equal prompts; None if there are none.

    prompt_ids: long [B, P]; prompt_mask: bool [B, P].
    """
    prompts = prompt_ids.masked_fill(~prompt_mask, -1)
    groups = torch.unique(prompts, dim=0, return_inverse=True)[1]
    first_rows = (groups[:, None] == groups).long().argmax(1)
    if bool((first_rows == torch.arange(len(groups), device=groups.device)).all()):
        return None
    return SharedPrompts(first_rows, prompt_mask.sum(1))


def find_shared_beginnings(ids: Tensor, lengths: Tensor) -> SharedPrompts:
    """Neighbouring rows that have at least half of their tokens in common.

    ids: long [B, T], padded on the right; lengths: long [B].
    """
    common = common_beginnings(ids, lengths)
    starts = 2 * common < lengths
    groups = starts.cumsum(0) - 1
    least = torch.full_like(lengths, ids.shape[1])
    least = least.scatter_reduce(0, groups[~starts], common[~starts], "amin")
    return SharedPrompts(starts.nonzero()[:, 0][groups], least[groups])


def sequences_of(minibatch: Minibatch, *, packed: bool = False) -> Sequences:
    """`as_sequences` of a minibatch."""
    return as_sequences(
        minibatch.prompt_ids,
        minibatch.prompt_mask,
        minibatch.response_ids,
        minibatch.response_mask,
        action_mask=minibatch.action_mask,
        packed=packed,
    )


def _packed(sequences: Sequences, lengths: Tensor) -> Sequences:
    packed = pack_rows(sequences.ids, lengths)
    if packed is None:
        return sequences
    return replace(
        sequences,
        ids=packed.ids,
        position_ids=packed.position_ids,
        cells=packed.places[None, None],
        rows=torch.zeros_like(sequences.rows),
        columns=packed.places[sequences.rows, sequences.columns],
    )
