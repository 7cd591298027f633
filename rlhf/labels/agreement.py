"""Krippendorff's alpha of rankings, with a bootstrap interval.

A unit is one response of one item, its values are the ranks that annotators gave it, and the
metric is ordinal
(https://www.asc.upenn.edu/sites/default/files/2021-03/Computing%20Krippendorff%27s%20Alpha-Reliability.pdf).
Coincidence matrices of units add up, so a bootstrap over items only adds other items' matrices.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Alpha:
    """1 is full agreement, 0 is chance, below 0 is systematic disagreement.

    All three numbers are NaN for n=0: there are not enough labels, or all ranks are equal.
    """

    value: float
    low: float  # 2.5% and 97.5% of a bootstrap over items
    high: float
    n: int  # items that two or more annotators ranked

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}] (n={self.n})" if self.n else "-"


UNDEFINED = Alpha(math.nan, math.nan, math.nan, 0)


def rank_alpha(
    by_item: Mapping[int, Sequence[Sequence[int]]], *, samples: int = 1000, seed: int = 0
) -> Alpha:
    """Alpha of the ranks that annotators gave.

    by_item: item id -> for each annotator K ranks from 1. Items of one annotator do not count.
    """
    shared = {item: ranks for item, ranks in sorted(by_item.items()) if len(ranks) > 1}
    highest = max((max(map(max, ranks)) for ranks in shared.values()), default=0)
    if not shared:
        return UNDEFINED
    matrices = np.stack([coincidences(ranks, highest) for ranks in shared.values()])
    value = ordinal_alpha(matrices.sum(0))
    rng, count = np.random.default_rng(seed), len(matrices)
    # The number of draws of each item times its matrix: 10,000 items are not copied.
    flat = matrices.reshape(count, -1)
    resampled = [
        ordinal_alpha((draw_counts(rng, count) @ flat).reshape(highest, highest))
        for _ in range(samples)
    ]
    defined = [alpha for alpha in resampled if not np.isnan(alpha)]
    if np.isnan(value) or not defined:
        return UNDEFINED  # all ranks are equal: nothing varies
    low, high = np.quantile(defined, [0.025, 0.975])
    return Alpha(value, float(low), float(high), count)


def draw_counts(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Number of draws of each of `count` items in `count` draws. int64 [count]."""
    return np.bincount(rng.integers(count, size=count), minlength=count)


def coincidences(ranks: Sequence[Sequence[int]], highest: int) -> Matrix:
    """Coincidence matrix [highest, highest] of one item's responses.

    Entry (c, k) counts how often two annotators give ranks c and k to one response; each pair of
    values has weight 1 / (annotators - 1).
    """
    total = np.zeros((highest, highest))
    for of_response in zip(*ranks, strict=True):
        counts = np.bincount(of_response, minlength=highest + 1)[1:].astype(float)
        total += (np.outer(counts, counts) - np.diag(counts)) / (len(of_response) - 1)
    return total


def ordinal_alpha(observed: Matrix) -> float:
    """1 - observed / expected disagreement; NaN if all values are equal.

    The distance of two ranks is the number of values between them, squared.
    """
    sums = observed.sum(0)
    total = sums.sum()
    upto = np.cumsum(sums) - sums / 2
    distance = (upto[:, None] - upto[None, :]) ** 2
    expected = (np.outer(sums, sums) * distance).sum() / (total - 1)
    return float(1 - (observed * distance).sum() / expected) if expected else float("nan")
