"""Which prompts people are asked about, with known probabilities."""

from collections.abc import Sequence

import numpy as np

MOST = 1.5  # times as likely is the most uncertain prompt as the most certain one


def sampling_probabilities(uncertainty: Sequence[float], budget: int) -> list[float]:
    """Each prompt's probability of being drawn; they add up to `budget`.

        π ∝ 1 + (MOST - 1) · uncertainty,   at most 1

    The best design for a mean draws a prompt in proportion to the standard deviation of its label
    given the judge's verdict (Neyman 1934). How large it is where the judge is certain is not known
    before the labels, so the ratio is bounded: with weights between 1 and r the variance of people
    alone rises by (1 + r)²/(4r) at most, 1.042 for r = 1.5, and an interval by 2.1%.

    Args:
        uncertainty: of the judge, from 0 (certain) to 1.
        budget: number of prompts to draw; with as many prompts or fewer all are drawn.

    Raises:
        ValueError: the budget is below 1, or an uncertainty is outside [0, 1].
    """
    u = np.asarray(uncertainty, dtype=np.float64)
    if budget < 1 or not ((u >= 0) & (u <= 1)).all():
        raise ValueError(f"budget {budget} below 1, or an uncertainty outside [0, 1]")
    if budget >= len(u):
        return [1.0] * len(u)
    size = 1 + (MOST - 1) * u
    certain = np.zeros(len(u), dtype=bool)
    while True:  # prompts above 1 are certain, and the others share the rest
        rest = (budget - certain.sum()) * size / size[~certain].sum()
        over = ~certain & (rest > 1)
        if not over.any():
            return [float(p) for p in np.where(certain, 1.0, rest)]
        certain |= over


def systematic_sample(probabilities: Sequence[float], *, seed: int) -> list[int]:
    """Indices drawn with these probabilities, in order; as many as the probabilities add up to.

    The prompts are put into random order and along a line, each as long as its probability; the
    points u, u + 1, u + 2, … with u uniform in [0, 1) select them (Madow 1949). Every probability
    is exact, and the number of prompts is fixed.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(probabilities))
    ends = np.cumsum(np.asarray(probabilities, dtype=np.float64)[order])
    size = round(float(ends[-1]))
    ends *= size / ends[-1]  # rounding
    points = rng.random() + np.arange(size)
    return sorted(int(i) for i in order[np.searchsorted(ends, points, side="right")])
