"""Weighted sums of shares over several sets of prompts: the total of a benchmark."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import (
    RESAMPLES,
    Estimate,
    estimate_of,
    resampled_counts,
    wilson,
)
from rlhf.ops.accuracy import share_freedom, share_with_interval

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Term:
    """weight * Σ sums / Σ counts over the prompts of a set.

    stratum: name of the set of prompts. Terms of one stratum share its resamples.
    values: the prompt's sum and count, by prompt.
    """

    weight: float
    stratum: str
    values: Mapping[str, tuple[float, float]]


def term(weight: float, stratum: str, values: Iterable[tuple[str, float]]) -> Term:
    """The term of (prompt, value) pairs; several values of a prompt are kept together."""
    sums: dict[str, tuple[float, float]] = {}
    for group, value in values:
        total, count = sums.get(group, (0.0, 0.0))
        sums[group] = (total + value, count + 1.0)
    return Term(weight=weight, stratum=stratum, values=sums)


def weighted_sum(
    terms: Sequence[Term], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate | None:
    """The sum of the terms, with the percentile bootstrap over prompts within each stratum.

    The number of prompts of a stratum is part of the benchmark's design, so it is the same in each
    resample. None if a term has no prompt, or there is a single prompt in all.

    If all resamples are equal (a model that is right everywhere), the interval of a sum with
    positive weights is Wilson's, from 0 to the sum W of the weights. A stratum whose terms weigh
    W_s together has one coin flip for each of its n_s prompts, so the sum has as much variance as
    W²/Σ(W_s²/n_s) flips: a subset of three prompts stays uncertain next to one of a thousand.
    """
    strata = dict.fromkeys(one.stratum for one in terms)
    prompts = {
        name: list(dict.fromkeys(p for one in terms if one.stratum == name for p in one.values))
        for name in strata
    }
    count = sum(map(len, prompts.values()))
    if count < 2 or not all(one.values for one in terms):
        return None
    value, draws = 0.0, np.zeros(resamples)
    for place, (stratum, names) in enumerate(prompts.items()):
        # Strata of equal size would share their resamples if they shared the seed.
        counts = np.concatenate(
            list(resampled_counts(len(names), seed=seed + place, resamples=resamples))
        )
        for one in (each for each in terms if each.stratum == stratum):
            tops, bottoms = _arrays(one, names)
            value += one.weight * float(tops.sum() / bottoms.sum())
            # A resample without any prompt of the term is dropped below.
            with np.errstate(invalid="ignore", divide="ignore"):
                draws += one.weight * (counts @ tops) / (counts @ bottoms)
    estimate = estimate_of(value, draws[np.isfinite(draws)], n=count)
    is_share = all(one.weight > 0 for one in terms)
    if not is_share or estimate.low != estimate.high:
        return estimate
    weights = {name: sum(one.weight for one in terms if one.stratum == name) for name in strata}
    weight = sum(weights.values())
    variance = sum(weights[name] ** 2 / len(names) for name, names in prompts.items())
    return _with_width(estimate, weight, weight**2 / variance)


def share_of(values: Iterable[tuple[str, float]]) -> Estimate | None:
    """Mean of (prompt, value from 0 to 1) pairs with Wilson's interval, clustered by prompt.

    None for fewer than two prompts. A bootstrap of values that are all 1 would give [1, 1].
    """
    by_prompt = list(term(1.0, "", values).values.values())
    if len(by_prompt) < 2:
        return None
    sums = torch.tensor([total for total, _ in by_prompt], dtype=torch.float64)
    counts = torch.tensor([count for _, count in by_prompt], dtype=torch.float64)
    value, low, high = share_with_interval(sums, counts)
    return Estimate(
        value=value,
        low=low,
        high=high,
        n=len(by_prompt),
        num_answers=int(counts.sum()),
        freedom=share_freedom(sums, counts),
    )


def _arrays(one: Term, names: Sequence[str]) -> tuple[Array, Array]:
    pairs = [one.values.get(name, (0.0, 0.0)) for name in names]
    return np.array([total for total, _ in pairs]), np.array([count for _, count in pairs])


def _with_width(estimate: Estimate, weight: float, flips: float) -> Estimate:
    """The estimate with Wilson's interval of so many coin flips, for a sum from 0 to `weight`."""
    share = min(max(estimate.value / weight, 0.0), 1.0)
    low, high = wilson(share, flips)
    low, high = min(weight * low, estimate.value), max(weight * high, estimate.value)
    return replace(estimate, low=low, high=high, se=None, freedom=math.inf)
