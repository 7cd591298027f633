"""Masks from lengths, masked means, and the shift between logits and tokens."""

import torch
from torch import Tensor


def length_mask(lengths: Tensor, width: int) -> Tensor:
    """bool [B, width], True on the first `lengths[b]` columns. lengths: long [B]."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` is True; 0.0 if nothing is selected.

    values: float [...]; mask: bool, same shape.

    Raises:
        ValueError: shapes differ; broadcasting a [B] mask would average the wrong tokens.
    """
    # where() instead of a product: NaN * 0 is NaN, so one NaN on padding would spoil the mean.
    return masked_sum(values, mask) / mask.sum().clamp(min=1)


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of `values` where `mask` is True. Shapes and errors as in `masked_mean`."""
    if values.shape != mask.shape:
        raise ValueError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} differ")
    return torch.where(mask, values, 0.0).sum()


def left_justified(
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    multiple: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts and responses without padding between them, padded on the right.

    A causal model then needs no attention mask: no token follows padding, and position ids are
    0, 1, 2, ….

    Args:
        prompt_ids: long [B, P], padded on the left.
        prompt_mask: bool [B, P].
        response_ids: long [B, R], padded on the right.
        response_mask: bool [B, R].
        multiple: T is a multiple of this.

    Returns:
        ids: long [B, T], T the longest prompt + response of these rows or slightly more; 0 on
            padding.
        rows, columns: long [N], the N = response_mask.sum() positions in [B, T] whose logits
            predict a response token, in the order of `response_mask.nonzero()`. Logits and
            tokens are shifted against each other only here: response token t is at position
            prompt_length + t, and the position before it predicts it.
    """
    prompt_lengths, lengths = prompt_mask.sum(1), response_mask.sum(1)
    longest = int((prompt_lengths + lengths).max())
    width = -(-longest // multiple) * multiple
    ids = torch.zeros(len(prompt_ids), width, dtype=torch.long, device=prompt_ids.device)
    ids[length_mask(prompt_lengths, width)] = prompt_ids[prompt_mask]
    rows, tokens = response_mask.nonzero(as_tuple=True)
    places = prompt_lengths[rows] + tokens
    ids[rows, places] = response_ids[response_mask]
    return ids, rows, places - 1
