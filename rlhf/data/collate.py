"""Padded tensors of lists of ids. Masks come from lengths, as a text may contain the pad id."""

from collections.abc import Sequence

import torch
from torch import Tensor


def left_pad(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """ids: long [B, T] with padding before each row; mask: bool [B, T], False on padding."""
    width = max(map(len, rows), default=0)
    ids = torch.full((len(rows), width), pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        start = width - len(row)
        ids[index, start:] = torch.tensor(row, dtype=torch.long)
        mask[index, start:] = True
    return ids, mask


def right_pad(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """ids: long [B, T] with padding after each row; mask: bool [B, T], False on padding."""
    width = max(map(len, rows), default=0)
    ids = torch.full((len(rows), width), pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = True
    return ids, mask
