"""Krippendorff's alpha of rankings and of other values, with a bootstrap interval.

A unit is what annotators give a value to, such as one response of one item. The distance of two
values depends on their scale
(https://www.asc.upenn.edu/sites/default/files/2021-03/Computing%20Krippendorff%27s%20Alpha-Reliability.pdf).
Coincidence matrices of units add up, so a bootstrap over items only adds other items' matrices.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Distance = Callable[[Matrix], Matrix]
"""Number of times that each value was given, [V] -> disagreement of each two values, [V, V]."""


@dataclass(frozen=True)
class Alpha:
    """1 is full agreement, 0 is chance, below 0 is systematic disagreement.

    All three numbers are NaN for n=0: there are not enough labels, or all values are equal.
    """

    value: float
    low: float  # 2.5% and 97.5% of a bootstrap over items
    high: float
    n: int  # items with a unit that two or more annotators gave a value to

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}] (n={self.n})" if self.n else "-"


UNDEFINED = Alpha(math.nan, math.nan, math.nan, 0)


def rank_alpha(
    by_item: Mapping[int, Sequence[Sequence[int]]], *, samples: int = 1000, seed: int = 0
) -> Alpha:
    """Alpha of the ranks that annotators gave, on the ordinal scale.

    by_item: item id -> for each annotator K ranks from 1. Items of one annotator do not count.
    """
    units = {
        item: [[rank - 1 for rank in of_response] for of_response in zip(*ranks, strict=True)]
        for item, ranks in by_item.items()
    }
    return value_alpha(units, ordinal, samples=samples, seed=seed)


def value_alpha(
    by_item: Mapping[int, Sequence[Sequence[int]]],
    distance: Distance,
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Alpha:
    """Alpha of the values that annotators gave to the units of each item.

    Args:
        by_item: item id -> units; a unit has the values of its annotators, numbered from 0 in the
            order of their scale. Units of one annotator do not count.
        distance: of the scale, `ordinal` or `nominal`.
        samples: items are drawn that often for the interval.
        seed: of these draws.
    """
    shared = {
        item: [unit for unit in units if len(unit) > 1] for item, units in sorted(by_item.items())
    }
    shared = {item: units for item, units in shared.items() if units}
    if not shared:
        return UNDEFINED
    size = 1 + max(value for units in shared.values() for unit in units for value in unit)
    matrices = np.stack([coincidences(units, size) for units in shared.values()])
    value = _alpha(matrices.sum(0), distance)
    rng, count = np.random.default_rng(seed), len(matrices)
    # The number of draws of each item times its matrix: 10,000 items are not copied.
    flat = matrices.reshape(count, -1)
    resampled = [
        _alpha((draw_counts(rng, count) @ flat).reshape(size, size), distance)
        for _ in range(samples)
    ]
    defined = [alpha for alpha in resampled if not np.isnan(alpha)]
    if np.isnan(value) or not defined:
        return UNDEFINED  # all values are equal: nothing varies
    low, high = np.quantile(defined, [0.025, 0.975])
    return Alpha(value, float(low), float(high), count)


def draw_counts(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Number of draws of each of `count` items in `count` draws. int64 [count]."""
    return np.bincount(rng.integers(count, size=count), minlength=count)


def coincidences(units: Sequence[Sequence[int]], size: int) -> Matrix:
    """Coincidence matrix [size, size] of one item's units.

    Entry (c, k) counts how often two annotators give values c and k to one unit; each pair of
    values has weight 1 / (annotators - 1).
    """
    total = np.zeros((size, size))
    for unit in units:
        counts = np.bincount(unit, minlength=size).astype(float)
        total += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return total


def ordinal(sums: Matrix) -> Matrix:
    """The distance of two ranks is the number of values between them, squared."""
    upto = np.cumsum(sums) - sums / 2
    return np.asarray((upto[:, None] - upto[None, :]) ** 2)


def nominal(sums: Matrix) -> Matrix:
    """Two different values have distance 1."""
    return np.asarray(1 - np.eye(len(sums)))


def _alpha(observed: Matrix, distance: Distance) -> float:
    """1 - observed / expected disagreement; NaN if all values are equal."""
    sums = observed.sum(0)
    total = sums.sum()
    distances = distance(sums)
    expected = (np.outer(sums, sums) * distances).sum() / (total - 1)
    return float(1 - (observed * distances).sum() / expected) if expected else float("nan")
