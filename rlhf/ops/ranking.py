"""Losses of a reward model on rankings: Bradley-Terry with ties and margins, Plackett-Luce.

The N responses of all rankings form one flat row; `group_ids` has the ranking of each. The G
rankings are numbered 0 … G-1. Rank 1 is best; equal ranks tie.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rlhf.types import Ties


def ranking_loss(
    scores: Tensor,
    ranks: Tensor,
    group_ids: Tensor,
    *,
    ties: Ties = "out",
    tie_threshold: float = 0.0,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Each ranking's mean over its pairs of -log P(the label of the pair).

    Bradley-Terry on all pairs of a ranking, as in InstructGPT (https://arxiv.org/abs/2203.02155,
    eq. 1). With d = score of the better - score of the worse, η the tie threshold, m the margin
    and ε the label smoothing, an ordered pair costs

        -(1 - ε) log σ(d - η - m) - ε log σ(-d - η - m)

    The margin is Llama 2's (https://arxiv.org/abs/2307.09288, eq. 2); the smoothing assumes labels
    that are wrong with probability ε. The mean over pairs keeps a ranking of many responses from
    outweighing one of few: K responses give K(K-1)/2 pairs and share K forward passes.

    Ties. `out`: no pair. `half`: half a pair in each direction, with its minimum at equal scores.
    `rao_kupper` (https://doi.org/10.1080/01621459.1967.10482901): two responses tie if their noisy
    difference is below η, so P(tie) = σ(d + η) - σ(d - η); a tie costs

        -log σ(d - η) - log σ(-d - η) - log(e^2η - 1)

    Davidson's model (P(tie) ∝ √(p p')) is not used, because people tie responses that look alike,
    which is a threshold: η is in units of the reward, adds to a margin, and is exactly the result
    of two noisy judgements with a just noticeable difference.

    Args:
        scores: float [N], raw logits; their gradient is kept.
        ranks: long [N].
        group_ids: long [N], 0 … G-1, every number used.
        ties: see above.
        tie_threshold: η >= 0; above 0 with rao_kupper, where it must be.
        margins: float [G], m of each ranking's ordered pairs; None is 0.
        label_smoothing: ε, 0 to below ½.

    Returns:
        float [G]; 0 for a ranking without a pair.
    """
    better, tied = ordered_pairs(ranks, group_ids), tied_pairs(ranks, group_ids)
    d = scores[:, None] - scores[None, :]
    cut: Tensor | float = tie_threshold
    if margins is not None:
        cut = tie_threshold + margins[group_ids][:, None]
    # softplus(-x) is -log σ(x) without the overflow of log(1 + e^-x).
    losses = better * (1 - label_smoothing) * F.softplus(cut - d)
    if label_smoothing:
        losses = losses + better * label_smoothing * F.softplus(cut + d)
    if ties == "out":
        return by_group(losses, group_ids) / by_group(better, group_ids).clamp(min=1e-6)
    if ties == "half":
        losses = losses + tied / 2 * F.softplus(-d)
    else:
        # Entry (i, j) holds one of the two terms of the tie, and half of its constant.
        constant = math.log(math.expm1(2 * tie_threshold))
        losses = losses + tied * (F.softplus(tie_threshold - d) - constant / 2)
    pairs = better + tied / 2
    return by_group(losses, group_ids) / by_group(pairs, group_ids).clamp(min=1e-6)


def soft_ranking_loss(scores: Tensor, preferred: Tensor, group_ids: Tensor) -> Tensor:
    """Each ranking's mean over its pairs of the cross-entropy of people's choices.

        -p log σ(d) - (1 - p) log σ(-d),   d = score of the first - score of the second

    p is the share of people who prefer the first of two responses. The loss is lowest at σ(d) = p:
    a pair on which people split keeps scores that differ little. It is Bradley-Terry on the labels
    of all annotators, each of whom weighs the same, up to their number. p = 1 is `ranking_loss`.

    Args:
        scores: float [N], raw logits; their gradient is kept.
        preferred: float [N, N], p at (i, j) and 1 - p at (j, i) of each pair; else 0.
        group_ids: long [N], 0 … G-1, every number used.

    Returns:
        float [G]; 0 for a ranking without a pair.
    """
    losses = preferred * F.softplus(scores[None, :] - scores[:, None])
    return by_group(losses, group_ids) / by_group(preferred, group_ids).clamp(min=1e-6)


def tie_threshold_of(tie_rate: float) -> float:
    """η of Rao and Kupper at which two responses of equal score tie with this probability.

        tanh(η / 2) = tie_rate

    From the rate over all pairs it is a lower bound: responses that differ tie less often.

    Raises:
        ValueError: the rate is not between 0 and 1.
    """
    if not 0 < tie_rate < 1:
        raise ValueError(f"a tie rate of {tie_rate} has no threshold")
    return 2 * math.atanh(tie_rate)


def plackett_luce_loss(scores: Tensor, ranks: Tensor, group_ids: Tensor) -> Tensor:
    """Each ranking's mean over its choices of -log P(the response is chosen from those left).

        P(i) = e^s_i / (e^s_i + Σ_{k ranked below i} e^s_k)

    (Plackett 1975, https://doi.org/10.2307/2346567; Luce 1959.) A response with none below it is
    not a choice. Deviation: tied responses do not compete with each other; each is chosen from
    itself and those strictly below, as ties are left out of pairs. K = 2 is Bradley-Terry.

    Args:
        scores: float [N], raw logits; their gradient is kept.
        ranks: long [N].
        group_ids: long [N], 0 … G-1, every number used.

    Returns:
        float [G]; 0 for a ranking that ties everything.
    """
    below = ordered_pairs(ranks, group_ids).bool()
    rivals = below | torch.eye(len(ranks), dtype=torch.bool, device=ranks.device)
    lowest = torch.finfo(scores.dtype).min  # not -inf: its gradient would be NaN
    left = torch.where(rivals, scores[None, :], lowest).logsumexp(dim=1)
    is_choice = below.any(dim=1).to(scores.dtype)
    losses, choices = ((left - scores) * is_choice)[:, None], is_choice[:, None]
    return by_group(losses, group_ids) / by_group(choices, group_ids).clamp(min=1e-6)


def centering_loss(scores: Tensor, group_ids: Tensor) -> Tensor:
    """Each ranking's mean over its pairs of (sum of the two scores)²: it pulls scores to 0.

    Eisenstein et al. 2023 (https://arxiv.org/abs/2312.09244, eq. 2) for a pair; here over all
    pairs of K responses, whatever their order. Rankings do not determine a reward's zero; this
    does.

    Args:
        scores: float [N].
        group_ids: long [N], 0 … G-1, every number used.

    Returns:
        float [G].
    """
    pairs = _same_ranking(group_ids).to(scores.dtype).triu(diagonal=1)
    squares = (scores[:, None] + scores[None, :]).square() * pairs
    return by_group(squares, group_ids) / by_group(pairs, group_ids).clamp(min=1e-6)


def ordered_pairs(ranks: Tensor, group_ids: Tensor) -> Tensor:
    """float [N, N]: 1 at (i, j) where i and j are of one ranking and i is better."""
    return ((ranks[:, None] < ranks[None, :]) & _same_ranking(group_ids)).float()


def tied_pairs(ranks: Tensor, group_ids: Tensor) -> Tensor:
    """float [N, N]: 1 at (i, j) and at (j, i) where i and j are of one ranking and tie."""
    tied = (ranks[:, None] == ranks[None, :]) & _same_ranking(group_ids)
    return tied.fill_diagonal_(False).float()


def by_group(matrix: Tensor, group_ids: Tensor) -> Tensor:
    """float [G]: sums of the rows' sums over each ranking; matrix: float [N, any]."""
    groups = int(group_ids.max()) + 1 if group_ids.numel() else 0
    return matrix.new_zeros(groups).index_add(0, group_ids, matrix.sum(dim=1))


def _same_ranking(group_ids: Tensor) -> Tensor:
    return group_ids[:, None] == group_ids[None, :]
