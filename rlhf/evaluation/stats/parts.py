"""Parts of an evaluation (categories of prompts, groups of annotators) against the rest of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import NORMAL_95, Estimate, clustered_error, wilson

LEVEL = 0.05  # share of false discoveries among the parts that are named
FEWEST_PROMPTS = 8  # of a part that is named as the worst one
_Array = NDArray[np.float64]

Case = tuple[str, str, float]
"""A prompt, a part, and a number from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part's mean, and how it differs from the mean of the rest."""

    name: str
    estimate: Estimate
    difference: float  # from the rest
    p: float  # of the difference, two-sided
    q: float  # p with Benjamini and Hochberg's correction for the number of parts


def compare_parts(cases: Iterable[Case]) -> list[Part]:
    """Each part against the rest, in the order of the names; empty for fewer than two parts.

    A prompt may have cases of several parts, as when two groups of annotators judge the same
    responses: the difference is then paired by prompt. Its standard error is that of the prompts'
    influence on both means,

        d_p = (t_p - r c_p)/Σc  of the part  -  the same of the rest,   SE² = Σ_p d_p²

    For p, the part and the rest each get one prompt more with the value 1 and one with 0, after
    Agresti & Caffo (2000, https://doi.org/10.1080/00031305.2000.10474560): three prompts that are
    all won are no evidence, although they do not vary. If most prompts have cases of both, these
    are the same two prompts. t has n + 1 degrees of freedom, n the prompts of the part or of the
    rest, whichever has fewer. Parts with fewer than two prompts, or whose rest has fewer, are left
    out.

    Raises:
        ValueError: a number is outside [0, 1].
    """
    rows = list(cases)
    if not all(0 <= value <= 1 for _, _, value in rows):
        raise ValueError("a number of a case is outside [0, 1]")
    prompts = {prompt: i for i, prompt in enumerate(dict.fromkeys(p for p, _, _ in rows))}
    by_part: dict[str, list[tuple[int, float]]] = {}
    for prompt, name, value in rows:
        by_part.setdefault(name, []).append((prompts[prompt], value))
    total = _table([case for of_part in by_part.values() for case in of_part], len(prompts))
    parts = []
    for name in sorted(by_part):
        table = _table(by_part[name], len(prompts))
        part = _against(name, table, total - table)
        parts += [part] if part is not None else []
    corrected = benjamini_hochberg([part.p for part in parts])
    return [replace(part, q=q) for part, q in zip(parts, corrected, strict=True)]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: naming all below 5% makes 5% false discoveries at most, on average.

        q_(i) = min over j >= i of p_(j) m / j      (Benjamini & Hochberg 1995)

    It holds for independent tests and for those that are positively dependent.

    Raises:
        ValueError: a p-value is outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a p-value is outside [0, 1]")
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    lowest = np.minimum.accumulate(scaled[::-1])[::-1]
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(lowest, 1.0)
    return [float(q) for q in adjusted]


def worst_part(parts: Sequence[Part]) -> Part | None:
    """The part with the lowest mean among those with enough prompts.

    The lowest of several means is below its own expectation by chance, so its interval is widened
    to hold for all parts together (Bonferroni).
    """
    large = [part for part in parts if part.estimate.n >= FEWEST_PROMPTS]
    if not large:
        return None
    worst = min(large, key=lambda part: part.estimate.value)
    estimate = worst.estimate
    assert estimate.se is not None
    alpha, freedom = 0.05 / len(large), estimate.n - 1
    half = _quantile(freedom, alpha) * estimate.se
    wide = replace(
        estimate,
        low=max(min(estimate.low, estimate.value - half), 0.0),
        high=min(max(estimate.high, estimate.value + half), 1.0),
        level=1 - alpha,
        freedom=freedom,
    )
    return replace(worst, estimate=wide)


def _table(cases: Sequence[tuple[int, float]], num_prompts: int) -> _Array:
    """[prompts, 2]: the sum of a prompt's numbers, and how many there are."""
    index = np.array([prompt for prompt, _ in cases], dtype=np.int64)
    values = np.array([value for _, value in cases], dtype=np.float64)
    columns = [np.bincount(index, weights, num_prompts) for weights in (values, None)]
    return np.stack(columns, axis=1)


def _against(name: str, part: _Array, rest: _Array) -> Part | None:
    rest[rest[:, 1] < 0.5] = 0.0  # rounding
    n, others = int((part[:, 1] > 0).sum()), int((rest[:, 1] > 0).sum())
    if min(n, others) < 2:
        return None
    difference, p = _mean(part) - _mean(rest), _p_value(part, rest, n, others)
    return Part(name=name, estimate=_estimate(part, n), difference=difference, p=p, q=p)


def _p_value(part: _Array, rest: _Array, n: int, others: int) -> float:
    """Two-sided p of the difference, with a win and a loss more of the part and of the rest."""
    shared = int(((part[:, 1] > 0) & (rest[:, 1] > 0)).sum())
    none = np.zeros((2, 2))
    more, more_rest = _win_and_loss(part, n), _win_and_loss(rest, others)
    if 2 * shared <= min(n, others):  # prompts of their own
        more, more_rest = np.concatenate([more, none]), np.concatenate([none, more_rest])
    part, rest = np.concatenate([part, more]), np.concatenate([rest, more_rest])
    difference = _mean(part) - _mean(rest)
    error = math.sqrt(float(((_influence(part) - _influence(rest)) ** 2).sum()))
    return _tail(abs(difference) / error, min(n, others) + 1) if error > 0 else 1.0


def _win_and_loss(table: _Array, n: int) -> _Array:
    """A prompt of value 1 and one of value 0, with the mean count of the table's n prompts."""
    count = float(table[:, 1].sum()) / n
    return np.array([[count, count], [0.0, count]])


def _mean(table: _Array) -> float:
    return float(table[:, 0].sum() / table[:, 1].sum())


def _influence(table: _Array) -> _Array:
    influence: _Array = (table[:, 0] - _mean(table) * table[:, 1]) / table[:, 1].sum()
    return influence


def _estimate(table: _Array, n: int) -> Estimate:
    """The mean with Wilson's interval by prompt, as in `rlhf.ops.accuracy`, which loads torch."""
    sums, counts = (table[table[:, 1] > 0][:, column].tolist() for column in (0, 1))
    total, error = sum(counts), clustered_error(sums, counts)
    value = sum(sums) / total
    flips = min(value * (1 - value) / error**2, total) if error > 0 else float(n)
    estimated = error > 0 and total > n
    low, high = wilson(value, flips, _quantile(n - 1, 0.05) if estimated else NORMAL_95)
    return Estimate(
        value=value,
        low=low,
        high=high,
        n=n,
        num_answers=int(total),
        se=error or (high - low) / (2 * 1.96),
        freedom=n - 1 if estimated else math.inf,
    )


def _tail(t: float, freedom: int) -> float:
    """Two-sided tail of Student's t."""
    from scipy.special import stdtr  # half a second

    return float(2 * stdtr(freedom, -t))


def _quantile(freedom: int, alpha: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - alpha / 2))
