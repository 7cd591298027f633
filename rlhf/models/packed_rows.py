"""Rows of tokens as one row without padding, in which what neighbours have in common is once."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlhf.ops.masking import length_mask

# The number of tokens is rounded up to this: oneDNN keeps the kernels of every bf16 shape forever,
# about a megabyte each, and a GPU's tensor cores are faster at multiples of 8.
PLACES_MULTIPLE = 32
# Share of tokens that packing leaves out; below it, packing costs more than it saves.
WORTH_PACKING = 0.1


@dataclass(frozen=True, kw_only=True)
class PackedRows:
    """B rows of up to T tokens as one row of N, only for models that `reads_packed_rows` accepts.

    A row shares the tokens that it has in common with the beginning of the row above.
    """

    ids: Tensor  # long [1, N]; after the last token, padding
    position_ids: Tensor  # long [1, N], of each token in its row
    places: Tensor  # long [B, T], of each row's tokens among the N; -1 for padding

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Keyword arguments of a transformers model; the places take the place of a mask."""
        return {
            "input_ids": self.ids,
            "position_ids": self.position_ids,
            "attention_mask": self.places[None, None],
        }


def pack_rows(ids: Tensor, lengths: Tensor) -> PackedRows | None:
    """Pack rows; None if padding and common beginnings are a small share of their tokens.

    Args:
        ids: long [B, T], padded on the right. Rows that begin alike should follow each other.
        lengths: long [B], at least 1.
    """
    width = ids.shape[1]
    own = length_mask(lengths, width)
    shared = length_mask(common_beginnings(ids, lengths), width)
    first = own & ~shared  # tokens that the row above does not have
    if ids.numel() - int(first.sum()) < WORTH_PACKING * ids.numel():
        return None
    places = (first.flatten().cumsum(0) - 1).view_as(first)
    # A shared token is the one above, which is the last of its column that is not shared itself.
    places = places.masked_fill(~first, -1).cummax(0).values
    tokens = ids[first]
    padding = (0, -len(tokens) % PLACES_MULTIPLE)
    return PackedRows(
        ids=pad(tokens, padding)[None],
        position_ids=pad(first.nonzero()[:, 1], padding)[None],
        places=places.masked_fill(~own, -1),
    )


def common_beginnings(ids: Tensor, lengths: Tensor) -> Tensor:
    """How many first tokens each row shares with the row above, long [B]; never its last one.

    ids: long [B, T], padded on the right; lengths: long [B].
    """
    own = length_mask(lengths, ids.shape[1])
    equal = (ids[1:] == ids[:-1]) & own[1:] & own[:-1]
    common = pad(equal.long().cumprod(1).sum(1), (1, 0))
    return torch.minimum(common, lengths - 1)
