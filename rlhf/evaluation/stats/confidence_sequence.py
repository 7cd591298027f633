"""Intervals that stay valid if one looks after every label and stops at any time.

The usual 95% interval is for one look. Whoever looks after every label and stops when it excludes
0.5 is wrong far more often than in 5% of cases. A confidence sequence covers the mean at all times
together with 95%. This one bets against each candidate mean (Waudby-Smith & Ramdas 2024,
https://arxiv.org/abs/2010.09686, section 4.2): a mean is excluded once the bets have multiplied
their stake by 20, which happens to the true mean in at most 5% of sequences (Ville 1939).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import Estimate

GRID = 1000  # steps between the candidate means 0 and 1
TRUNCATION = 0.5  # largest stake, as a share of the one that could lose everything
_Array = NDArray[np.float64]


def confidence_sequence(
    values: Sequence[float], *, level: float = 0.95
) -> list[tuple[float, float]]:
    """The interval of the mean after each value, each one within those before it.

    Args:
        values: from 0 to 1, in the order in which they came; independent, or drawn in random order.
        level: probability that all intervals cover the mean.

    Raises:
        ValueError: a value outside [0, 1].
    """
    x = np.asarray(values, dtype=np.float64)
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError("a value is outside [0, 1]")
    means = np.linspace(0.0, 1.0, GRID + 1)
    alive = log_capital(x, means, level=level) < -math.log(1 - level)
    alive = np.logical_and.accumulate(alive, axis=0)
    intervals: list[tuple[float, float]] = []
    for row in alive:
        kept = np.flatnonzero(row)
        if len(kept):  # a step wider on both sides, for the means between two candidates
            intervals.append((means[max(kept[0] - 1, 0)], means[min(kept[-1] + 1, GRID)]))
        else:  # in at most 1 - level of sequences
            intervals.append(intervals[-1] if intervals else (0.0, 1.0))
    return [(float(low), float(high)) for low, high in intervals]


def anytime_mean(values: Sequence[float], *, level: float = 0.95) -> Estimate:
    """The mean of values in [0, 1] with the last interval of their confidence sequence.

    Raises:
        ValueError: there is no value, or one is outside [0, 1].
    """
    if not len(values):
        raise ValueError("there is no value")
    low, high = confidence_sequence(values, level=level)[-1]
    value = float(np.mean(values))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=len(values))


def log_capital(values: _Array, means: _Array, *, level: float = 0.95) -> _Array:
    """[T, M] log of the stake after each value, of bets against each mean (hedged capital).

        K±(m) = Π_t (1 ± λ±_t(m) (x_t - m)),   K = max(K+/2, K-/2)
        λ_t = sqrt(2 log(2/α) / (σ²_{t-1} t log(t + 1))),   σ²_t from the values so far
        λ+_t(m) = min(λ_t, c/m),   λ-_t(m) = min(λ_t, c/(1 - m)),   c = 1/2

    Args:
        values: float [T], from 0 to 1.
        means: float [M], the candidates.
        level: 1 - α, which only tunes the bets.
    """
    stakes = _stakes(values, 1 - level)[:, None]
    gains = values[:, None] - means[None, :]
    with np.errstate(divide="ignore"):
        up = np.minimum(stakes, TRUNCATION / means[None, :])
        down = np.minimum(stakes, TRUNCATION / (1 - means[None, :]))
    capital: _Array = np.maximum(
        np.cumsum(np.log1p(up * gains), axis=0), np.cumsum(np.log1p(-down * gains), axis=0)
    )
    return capital - math.log(2)


def _stakes(values: _Array, alpha: float) -> _Array:
    """[T] λ_t, from the values before t: mean and variance start at 1/2 and 1/4."""
    t = np.arange(1, len(values) + 1)
    running = (0.5 + np.cumsum(values)) / (t + 1)
    variance = (0.25 + np.cumsum((values - running) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    stakes: _Array = np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log(t + 1)))
    return stakes
