"""Whitening of masked values."""

import torch
from torch import Tensor

from rlhf.ops.masking import masked_mean, masked_sum

EPSILON = 1e-8


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """(x - μ) / √(σ² + 1e-8), plus μ again where `shift_mean` is False; 0 on padding.

    μ and σ² (Bessel-corrected, as in TRL) are over the values where `mask` is True. Pass the rows
    of all ranks: statistics of one rank's rows would weight ranks unequally. Without the shift the
    sign of a reward is kept. values: float, mask: bool, same shape.
    """
    # In float64: the rounding error of a float32 mean of equal values, divided by √1e-8, would be
    # as large as a real advantage.
    exact = values.double()
    mean = masked_mean(exact, mask)
    whitened = (exact - mean) / torch.sqrt(masked_variance(exact, mask) + EPSILON)
    if not shift_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, 0.0).to(values.dtype)


def masked_variance(values: Tensor, mask: Tensor) -> Tensor:
    """Σ (x - μ)² / (n - 1) where `mask` is True; 0 for a single value."""
    squares = (values - masked_mean(values, mask)) ** 2
    return masked_sum(squares, mask) / (mask.sum() - 1).clamp(min=1)
