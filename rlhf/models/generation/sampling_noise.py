"""The random numbers of sampling: a function of the row, not of its batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def uniform_noise(seed: int, iteration: int, row_ids: Tensor, num_positions: int) -> Tensor:
    """float [B, R] in (0, 1]: a pure function of (seed, iteration, row, position).

    A counter-based generator (the finalizer of SplitMix64, Steele et al. 2014): the number of
    processes, the batches and resuming do not change it. 24 bits, exact in float32.
    """
    rows = row_ids.cpu().numpy().astype(np.uint64)[:, None]
    positions = np.arange(num_positions, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is intended
        key = _mix(np.array([[seed % 2**64]], dtype=np.uint64))
        key = _mix(key ^ np.uint64(iteration % 2**64))
        bits = _mix(_mix(key ^ rows) ^ positions) >> np.uint64(40)
    return torch.from_numpy((bits.astype(np.float32) + 1.0) / np.float32(2**24))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
