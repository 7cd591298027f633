"""Losses of a reward model on labels of single responses, and the expected verdict of a judge."""

import torch
from torch import Tensor
from torch.nn import functional as F


def outcome_loss(scores: Tensor, correct: Tensor) -> Tensor:
    """-log P(label) of each response, in nats; P(correct) = σ(score).

    Binary cross-entropy, as for the verifiers of Cobbe et al. 2021
    (https://arxiv.org/abs/2110.14168). Its expectation is lowest where σ(score) is the true
    probability. Neither class is weighted: a weight would move the probabilities.

    Args:
        scores: float [any shape], raw logits; their gradient is kept.
        correct: float, same shape; 1 for a correct response, 0 for a wrong one, NaN without a
            label.

    Returns:
        float, same shape; 0 without a label.
    """
    labelled = _rated(scores, correct)
    targets = torch.where(labelled, correct, 0.0)
    losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return torch.where(labelled, losses, 0.0)


def rating_loss(scores: Tensor, ratings: Tensor) -> Tensor:
    """(score - rating)² of each rating: 1 on average if all scores are the mean of the ratings.

    Regression, as for the axes of HelpSteer2 (https://arxiv.org/abs/2406.08673).

    Args:
        scores: float [any shape]; their gradient is kept.
        ratings: float, same shape, in standard deviations from their mean; NaN without a rating.

    Returns:
        float, same shape; 0 without a rating.
    """
    rated = _rated(scores, ratings)
    # where() twice: the gradient of a branch that is not taken would be NaN if the branch were.
    return torch.where(rated, (scores - torch.where(rated, ratings, 0.0)).square(), 0.0)


def expected_verdict(logits: Tensor, tokens: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The expected value of a verdict, and how much of the probability the verdicts have.

        E = Σ_v value_v p_v / Σ_v p_v      mass = Σ_v p_v

    p_v is the probability of the verdict's token. Its share among the verdicts is a softmax of
    their logits alone, so that E keeps its precision where the mass is small.

    Args:
        logits: float [B, V], of the first token of the reply.
        tokens: long [number of verdicts], different ids.
        values: float [number of verdicts].

    Returns:
        float32 [B] each.
    """
    logprobs = logits.float().log_softmax(dim=-1)[:, tokens]
    return logprobs.softmax(dim=-1) @ values.float(), logprobs.exp().sum(dim=-1)


def _rated(scores: Tensor, labels: Tensor) -> Tensor:
    """bool: where there is a label."""
    if scores.shape != labels.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)} differ")
    return ~labels.isnan()
