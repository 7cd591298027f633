"""The difference of two means on the same prompts, with an interval that holds for few prompts."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import Estimate

Array = NDArray[np.float64]


def paired_difference(
    new: Sequence[Sequence[float]], old: Sequence[Sequence[float]], *, level: float = 0.95
) -> Estimate | None:
    """mean(new) - mean(old) over the values of the same prompts.

    A mean is the ratio Σ sum_p / Σ count_p, and its change is the mean over the P prompts of

        d_p = R_new - R_old + (sum_p - R_new count_p) / c_new - (sum'_p - R_old count'_p) / c_old

    with c the mean count: the difference of the prompt's values if each prompt has one. The
    interval is Bonett & Price's for paired proportions (2012,
    https://doi.org/10.3102/1076998611411915), which adds one prompt with d = +m and one with -m;
    m is the largest |d_p|, 1 for differences of values of 0 and 1. So it has a width where all
    prompts changed alike. Here it takes Student's t with P + 1 degrees of freedom in place of the
    normal quantile, since values may be other numbers.

    Args:
        new: [prompts][values]; a prompt may have no value.
        old: the same prompts.
        level: of the two-sided interval.

    Returns:
        The difference; [0, 0] if no prompt changed. None if new or old has no value.

    Raises:
        ValueError: the numbers of prompts differ.
    """
    if len(new) != len(old):
        raise ValueError(f"{len(new)} and {len(old)} prompts")
    kept = [(a, b) for a, b in zip(new, old, strict=True) if len(a) or len(b)]
    if not any(len(a) for a, _ in kept) or not any(len(b) for _, b in kept):
        return None
    ratio_new, spread_new = _linearised([a for a, _ in kept])
    ratio_old, spread_old = _linearised([b for _, b in kept])
    value = ratio_new - ratio_old
    # Rounding must not make unchanged prompts differ.
    changes = np.where(
        [list(a) == list(b) for a, b in kept] if value == 0 else False,
        0.0,
        value + spread_new - spread_old,
    )
    low, high, error = _interval(changes, level)
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=len(kept),
        num_answers=sum(len(a) for a, _ in kept),
        se=error,
        level=level,
        freedom=_freedom(len(kept)),
    )


def _linearised(values: Sequence[Sequence[float]]) -> tuple[float, Array]:
    """The mean of all values, and each prompt's part of its error, (sum - R count) / mean count."""
    sums = np.array([float(sum(each)) for each in values])
    counts = np.array([float(len(each)) for each in values])
    ratio = float(sums.sum() / counts.sum())
    return ratio, (sums - ratio * counts) / counts.mean()


def _interval(changes: Array, level: float) -> tuple[float, float, float]:
    """Low, high and standard error of the mean of the changes, with two prompts added."""
    largest = float(np.abs(changes).max())
    if largest == 0:
        return 0.0, 0.0, 0.0
    from scipy.special import stdtrit  # half a second

    added = np.concatenate([changes, [largest, -largest]])
    centre, error = float(added.mean()), float(added.std()) / math.sqrt(len(added))
    half = float(stdtrit(_freedom(len(changes)), (1 + level) / 2)) * error
    return centre - half, centre + half, error


def _freedom(prompts: int) -> float:
    """Degrees of freedom with two prompts added."""
    return float(prompts + 1)
