"""Krippendorff's alpha of rankings, with an interval.

A unit is one answer of one item, its values the ranks that annotators gave it, the metric is
ordinal (https://www.asc.upenn.edu/sites/default/files/2021-03/Computing%20Krippendorff%27s%20Alpha-Reliability.pdf).
Coincidences of units add up, so that a bootstrap over items only adds other items' matrices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Alpha:
    """1 is full agreement, 0 is chance; below 0 people disagree on purpose. n=0: not defined."""

    value: float
    low: float  # 2.5% and 97.5% of a bootstrap over items
    high: float
    n: int  # items that two or more annotators ranked

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}] (n={self.n})" if self.n else "-"


def rank_alpha(
    by_item: Mapping[int, Sequence[Sequence[int]]], *, samples: int = 1000, seed: int = 0
) -> Alpha:
    """Alpha of the ranks that annotators gave.

    by_item: item id -> for each annotator K ranks from 1. Items of one annotator say nothing.
    """
    shared = {item: ranks for item, ranks in sorted(by_item.items()) if len(ranks) > 1}
    highest = max((max(map(max, ranks)) for ranks in shared.values()), default=0)
    if not shared:
        return Alpha(0.0, 0.0, 0.0, 0)
    each = np.stack([coincidences(ranks, highest) for ranks in shared.values()])
    value = ordinal_alpha(each.sum(0))
    draw, count = np.random.default_rng(seed), len(each)
    # How often each item is drawn times its matrix: no copies of 10,000 items are added up.
    flat = each.reshape(count, -1)
    again = [
        ordinal_alpha((drawn_times(draw, count) @ flat).reshape(highest, highest))
        for _ in range(samples)
    ]
    drawn = [alpha for alpha in again if not np.isnan(alpha)]
    if np.isnan(value) or not drawn:
        return Alpha(0.0, 0.0, 0.0, 0)  # everybody gave every answer one rank: nothing varies
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Alpha(value, float(low), float(high), count)


def drawn_times(draw: np.random.Generator, count: int) -> NDArray[np.int64]:
    """How often each of `count` items comes up in as many draws of one. int64 [count]."""
    return np.bincount(draw.integers(count, size=count), minlength=count)


def coincidences(ranks: Sequence[Sequence[int]], highest: int) -> Matrix:
    """Coincidence matrix [highest, highest] of one item's answers: how often two annotators give
    rank c and rank k, each pair of values weighted with 1 / (annotators - 1)."""
    total = np.zeros((highest, highest))
    for of_answer in zip(*ranks, strict=True):
        counts = np.bincount(of_answer, minlength=highest + 1)[1:].astype(float)
        total += (np.outer(counts, counts) - np.diag(counts)) / (len(of_answer) - 1)
    return total


def ordinal_alpha(observed: Matrix) -> float:
    """1 - observed / expected disagreement, distances between ranks by how many values lie
    between them; NaN where all values are one."""
    sums = observed.sum(0)
    total = sums.sum()
    upto = np.cumsum(sums) - sums / 2
    distance = (upto[:, None] - upto[None, :]) ** 2
    expected = (np.outer(sums, sums) * distance).sum() / (total - 1)
    return float(1 - (observed * distance).sum() / expected) if expected else float("nan")
