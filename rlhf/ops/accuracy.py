"""Pairwise accuracy of scores against human rankings, with a confidence interval."""

import math

import torch
from torch import Tensor

from rlhf.ops.ranking import by_group, ordered_pairs

NORMAL_95 = 1.959964  # two-sided 95% quantile of the normal distribution


def pairs_in_order(scores: Tensor, ranks: Tensor, group_ids: Tensor) -> tuple[Tensor, Tensor]:
    """For each prompt, the pairs that the scores order as its rankings do, and all its pairs.

    Tied pairs are left out. Equal scores of an ordered pair count half: a constant reward model has
    accuracy one half.

    Args:
        scores: float [N].
        ranks: long [N].
        group_ids: long [N], 0 … G-1.

    Returns:
        correct, pairs: float [G].
    """
    weights = ordered_pairs(ranks, group_ids)
    difference = scores[:, None] - scores[None, :]
    correct = (torch.sign(difference) + 1) / 2 * weights
    return by_group(correct, group_ids), by_group(weights, group_ids)


def share_with_interval(correct: Tensor, pairs: Tensor) -> tuple[float, float, float]:
    """Σ correct / Σ pairs and its 95% interval, clustered by prompt.

    Pairs of one prompt share responses, so they are no independent coin flips. The ratio
    estimator's linearised variance (Cochran, Sampling Techniques, 6.4),
    G/(G-1) * Σ (correct_g - share * pairs_g)² / (Σ pairs)², says how many independent flips
    would be as certain, share * (1 - share) / variance, at most as many as there are pairs;
    Wilson's interval of so many flips stays within [0, 1] and keeps a width where every pair is
    right. A variance that is itself estimated from G prompts takes Student's t for the normal
    quantile: of 5 prompts of 6 pairs, 0.79 of them right, the normal's interval holds the truth in
    86 draws of 100, this one in 99.

    Args:
        correct: float [G], right pairs of each prompt.
        pairs: float [G], pairs of each prompt.

    Returns:
        share, low, high; (nan, nan, nan) without a pair, (share, 0, 1) with a single prompt.
    """
    total, groups = float(pairs.sum()), int((pairs > 0).sum())
    if groups == 0:
        return math.nan, math.nan, math.nan
    share = float(correct.sum()) / total
    if groups == 1:
        return share, 0.0, 1.0
    residuals = correct.double() - share * pairs.double()
    variance = groups / (groups - 1) * float(residuals.square().sum()) / total**2
    # All right or all wrong: no spread to measure, a flip a prompt is the cautious count.
    flips = min(share * (1 - share) / variance, total) if variance > 0 else groups
    # Of one pair a prompt the share itself tells the spread, as of any coin.
    estimated = variance > 0 and total > groups
    from scipy.special import stdtrit  # half a second, and most users of rlhf.ops need none

    # stdtrit(f, q) is scipy.stats.t.ppf(q, f), without the half second that scipy.stats loads.
    quantile = float(stdtrit(groups - 1, 0.975)) if estimated else NORMAL_95
    low, high = _wilson(share, flips, quantile)
    return share, low, high


def _wilson(share: float, flips: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval (https://doi.org/10.2307/2276774) of `flips` coin flips."""
    square = quantile**2
    middle = (share + square / (2 * flips)) / (1 + square / flips)
    half = math.sqrt(share * (1 - share) / flips + square / (4 * flips**2))
    half *= quantile / (1 + square / flips)
    return max(0.0, middle - half), min(1.0, middle + half)
