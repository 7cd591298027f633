"""The ranking loss of a reward model, and its accuracy with an interval.

Answers of all prompts lie in one flat row of N; `group_ids` says which prompt each belongs to.
G prompts, numbered 0 … G-1; ranks as people give them, 1 is best, equal ranks tie.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

NORMAL_95 = 1.959964  # two-sided 95% quantile of the normal distribution


def ranking_loss(
    scores: Tensor, ranks: Tensor, group_ids: Tensor, *, tie_weight: float = 0.0
) -> Tensor:
    """Each prompt's mean over its pairs of -log σ(score of the better - score of the worse).

    Bradley-Terry on all pairs of a ranking, as in InstructGPT (https://arxiv.org/abs/2203.02155,
    eq. 1). The mean over pairs keeps a prompt with many answers from outweighing one with few:
    K answers give K(K-1)/2 pairs, and all of them share K forward passes.

    A tie counts as one pair in each direction with `tie_weight` each: 0 leaves ties out, 0.5
    makes a tie one pair with target ½, which pulls the two scores together.

    Args:
        scores: float [N], raw logits; their gradient is kept.
        ranks: long [N].
        group_ids: long [N], 0 … G-1, every number used.
        tie_weight: 0 or 0.5.

    Returns:
        float [G]; 0 for a prompt without a pair.
    """
    weights = _pair_weights(ranks, group_ids, tie_weight)
    # softplus(-d) is -log σ(d) without the overflow of log(1 + e^-d).
    losses = F.softplus(scores[None, :] - scores[:, None]) * weights
    return _by_group(losses, group_ids) / _by_group(weights, group_ids).clamp(min=1e-6)


def pairs_in_order(scores: Tensor, ranks: Tensor, group_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Each prompt's pairs that the scores put in the people's order, and its pairs; ties left out.

    Equal scores of an ordered pair count half: a constant reward model is right half the time.

    Args:
        scores: float [N].
        ranks: long [N].
        group_ids: long [N], 0 … G-1.

    Returns:
        correct, pairs: float [G].
    """
    weights = _pair_weights(ranks, group_ids, tie_weight=0.0)
    difference = scores[:, None] - scores[None, :]
    correct = (torch.sign(difference) + 1) / 2 * weights
    return _by_group(correct, group_ids), _by_group(weights, group_ids)


def share_with_interval(correct: Tensor, pairs: Tensor) -> tuple[float, float, float]:
    """Σ correct / Σ pairs and its 95% interval, clustered by prompt.

    Pairs of one prompt share answers, so they are no independent coin flips. The ratio
    estimator's linearised variance (Cochran, Sampling Techniques, 6.4),
    G/(G-1) * Σ (correct_g - share * pairs_g)² / (Σ pairs)², says how many independent flips
    would be as certain, share * (1 - share) / variance; Wilson's interval of so many flips stays
    within [0, 1] and keeps a width where every pair is right.

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
    flips = share * (1 - share) / variance if variance > 0 else groups
    low, high = _wilson(share, flips)
    return share, low, high


def _wilson(share: float, flips: float) -> tuple[float, float]:
    """Wilson's 95% score interval (https://doi.org/10.2307/2276774) of `flips` coin flips."""
    square = NORMAL_95**2
    middle = (share + square / (2 * flips)) / (1 + square / flips)
    half = math.sqrt(share * (1 - share) / flips + square / (4 * flips**2))
    half *= NORMAL_95 / (1 + square / flips)
    return max(0.0, middle - half), min(1.0, middle + half)


def _pair_weights(ranks: Tensor, group_ids: Tensor, tie_weight: float) -> Tensor:
    """float [N, N]: entry (i, j) weighs the pair "i is better than j"."""
    same = group_ids[:, None] == group_ids[None, :]
    better = (ranks[:, None] < ranks[None, :]) & same
    tied = (ranks[:, None] == ranks[None, :]) & same
    tied.fill_diagonal_(False)
    return better.float() + tie_weight * tied.float()


def _by_group(matrix: Tensor, group_ids: Tensor) -> Tensor:
    """float [G]: sums of the rows' sums over each group."""
    groups = int(group_ids.max()) + 1 if group_ids.numel() else 0
    return matrix.new_zeros(groups).index_add(0, group_ids, matrix.sum(dim=1))
