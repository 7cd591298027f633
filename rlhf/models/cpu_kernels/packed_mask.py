"""Masks of packed rows as places in a grid of rows, for attention that reads each row alone."""

from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import sdpa_mask

TOKENS_AT_ONCE = 256  # whose part of a mask is checked


def packed_mask(batch_size: int, q_length: int, kv_length: int, **options: Any) -> Tensor | None:
    """The mask of transformers for SDPA, or a grid where that takes less work.

    transformers packs rows one after another, and its mask keeps them apart: attention computes
    all products of N packed tokens and drops most. The grid, long [1, 1, B, T], has the places of
    the tokens of B rows of up to T tokens, -1 for padding.

    Args:
        batch_size: of the packed tokens; only a batch of 1 has a grid.
        q_length: tokens that attend.
        kv_length: tokens that are attended to; with a cache more than `q_length`.
        options: of `transformers.masking_utils.sdpa_mask`.
    """
    mask: Tensor | None = sdpa_mask(batch_size, q_length, kv_length, **options)
    if mask is None or batch_size != 1 or q_length != kv_length or mask.dtype != torch.bool:
        return mask
    starts = row_starts(mask[0, 0])
    if starts is None:
        return mask
    cells = cells_of(starts, q_length)
    return mask if cells.numel() * cells.shape[1] >= q_length**2 else cells[None, None]


def row_starts(mask: Tensor) -> Tensor | None:
    """The first token of each row, long [B]; None for a mask other than causal rows in sequence.

    Args:
        mask: bool [N, N], the tokens that each token attends to.
    """
    places = torch.arange(len(mask), device=mask.device)
    first = mask.view(torch.uint8).argmax(dim=-1)
    # A token attends to all tokens from the first one to itself, and to no other. One block of
    # tokens at a time: a second mask of all tokens would be as large as the first.
    for start in range(0, len(mask), TOKENS_AT_ONCE):
        block = slice(start, start + TOKENS_AT_ONCE)
        expected = (places >= first[block, None]) & (places <= places[block, None])
        if not torch.equal(mask[block], expected):
            return None
    is_start = first == places
    starts: Tensor = places[is_start]
    # Every token belongs to the row that started last.
    return starts if bool((starts[is_start.cumsum(0) - 1] == first).all()) else None


def cells_of(starts: Tensor, num_tokens: int) -> Tensor:
    """The grid, long [B, T], of rows that start at these tokens, -1 for padding.

    Args:
        starts: long [B], rising from 0.
        num_tokens: in all rows.
    """
    lengths = torch.diff(starts, append=starts.new_tensor([num_tokens]))
    places = torch.arange(int(lengths.max()), device=starts.device)
    cells = starts[:, None] + places[None, :]
    return cells.masked_fill(places[None, :] >= lengths[:, None], -1)
