"""Accuracy of scores against rankings and against verdicts, with confidence intervals."""

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
    return preferences_in_order(scores, ordered_pairs(ranks, group_ids), group_ids)


def preferences_in_order(
    scores: Tensor, preferred: Tensor, group_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """For each prompt, the people who order its pairs as the scores do, and all its pairs.

    A pair counts with the share of people who prefer the response of the higher score, the chance
    that the scores agree with one of them. Equal scores count half.

    Args:
        scores: float [N].
        preferred: float [N, N], see `rlhf.ops.ranking.soft_ranking_loss`.
        group_ids: long [N], 0 … G-1.

    Returns:
        correct, pairs: float [G].
    """
    difference = scores[:, None] - scores[None, :]
    correct = (torch.sign(difference) + 1) / 2 * preferred
    return by_group(correct, group_ids), by_group(preferred, group_ids)


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
    variance = groups / (groups - 1) * float(_residuals(correct, pairs).square().sum()) / total**2
    # All right or all wrong: no spread to measure, a flip a prompt is the cautious count.
    flips = min(share * (1 - share) / variance, total) if variance > 0 else groups
    low, high = _wilson(share, flips, _quantile_95(share_freedom(correct, pairs)))
    return share, low, high


def share_freedom(correct: Tensor, pairs: Tensor) -> float:
    """Degrees of freedom of Student's t in `share_with_interval`; infinity where it is the normal.

    Of one pair a prompt the share itself tells the spread, as of any coin. Pairs that are all right
    or all wrong have no spread.

    Args:
        correct: float [G], right pairs of each prompt.
        pairs: float [G], pairs of each prompt.
    """
    groups = int((pairs > 0).sum())
    if groups < 2 or float(pairs.sum()) <= groups or not bool(_residuals(correct, pairs).any()):
        return math.inf
    return groups - 1.0


def _residuals(correct: Tensor, pairs: Tensor) -> Tensor:
    """float64 [G]: right pairs of each prompt minus those of the mean share."""
    return correct.double() - float(correct.sum()) / float(pairs.sum()) * pairs.double()


def auc_with_interval(
    scores: Tensor, correct: Tensor, group_ids: Tensor
) -> tuple[float, float, float]:
    """P(a correct response scores above a wrong one), and its 95% interval, clustered by prompt.

    The area under the ROC curve: the share of all pairs of a correct and a wrong response, of
    whatever prompts, that the scores order; equal scores count half. The variance is that of
    Obuchowski 1997 (https://doi.org/10.2307/2533958), which is DeLong's if each response has a
    prompt of its own: with the share a_i of its pairs that response i is right in,

        G/(G-1) Σ_prompts (Σ_correct (a_i - AUC)/M + Σ_wrong (a_i - AUC)/N)²

    for M correct and N wrong responses. (Deviation: one factor G/(G-1) in place of M/(M-1) and
    N/(N-1).) The interval is Wilson's with Student's t, as in `share_with_interval`.

    Args:
        scores: float [B].
        correct: bool [B].
        group_ids: long [B], the prompt of each response, 0 … G-1.

    Returns:
        auc, low, high; (nan, nan, nan) if all responses are correct or all are wrong, (auc, 0, 1)
        with a single prompt.
    """
    return auc_with_freedom(scores, correct, group_ids)[:3]


def auc_with_freedom(
    scores: Tensor, correct: Tensor, group_ids: Tensor
) -> tuple[float, float, float, float]:
    """`auc_with_interval`, and the degrees of freedom of Student's t in it.

    They are infinite where the interval uses the normal: for an AUC without spread, if all pairs
    are in order or none is.
    """
    num_right, groups = int(correct.sum()), len(set(group_ids.tolist()))
    num_wrong = len(correct) - num_right
    if not (num_right and num_wrong):
        return math.nan, math.nan, math.nan, math.inf
    auc, sums = _auc(scores, correct, group_ids)
    if groups == 1:
        return auc, 0.0, 1.0, math.inf
    variance = groups / (groups - 1) * float(sums.square().sum())
    fewest = min(groups, num_right, num_wrong)
    flips = min(auc * (1 - auc) / variance, len(scores)) if variance > 0 else fewest
    freedom = groups - 1.0 if variance > 0 else math.inf
    low, high = _wilson(auc, flips, _quantile_95(freedom))
    return auc, low, high, freedom


def _auc(scores: Tensor, correct: Tensor, group_ids: Tensor) -> tuple[float, Tensor]:
    """The AUC, and float64 [G], the sum in the variance that is squared for each prompt."""
    right, wrong = scores[correct].double(), scores[~correct].double()
    wins = torch.zeros(len(scores), dtype=torch.float64)
    wins[correct] = _share_below(right, wrong)
    wins[~correct] = 1 - _share_below(wrong, right)
    auc = float(wins[correct].mean())
    counts = torch.where(correct, len(right), len(wrong))
    sums = torch.zeros(int(group_ids.max()) + 1, dtype=torch.float64)
    return auc, sums.index_add_(0, group_ids, (wins - auc) / counts)


def _share_below(values: Tensor, others: Tensor) -> Tensor:
    """float64 [N]: share of `others` below each value; equal ones count half."""
    ordered = others.sort().values
    below = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    return below.double() / (2 * len(others))


def _quantile_95(freedom: float) -> float:
    """Two-sided 95% quantile of Student's t; of the normal for infinite degrees of freedom."""
    if math.isinf(freedom):
        return NORMAL_95
    from scipy.special import stdtrit  # half a second, and most users of rlhf.ops need none

    # stdtrit(f, q) is scipy.stats.t.ppf(q, f), without the half second that scipy.stats loads.
    return float(stdtrit(freedom, 0.975))


def _wilson(share: float, flips: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval (https://doi.org/10.2307/2276774) of `flips` coin flips."""
    square = quantile**2
    middle = (share + square / (2 * flips)) / (1 + square / flips)
    half = math.sqrt(share * (1 - share) / flips + square / (4 * flips**2))
    half *= quantile / (1 + square / flips)
    return max(0.0, middle - half), min(1.0, middle + half)
