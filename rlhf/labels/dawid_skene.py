"""Dawid & Skene's model of annotators who err at different rates, by EM.

Dawid & Skene 1979 (https://doi.org/10.2307/2346806), for comparisons of two responses. Which of two
responses has the lower number means nothing, so each annotator has one error rate instead of a
confusion matrix: with probability p_a annotator a decides as the truth does. A tie is no decision.

    P(i better than j | votes) = σ(Σ_a v_a log(p_a / (1 - p_a))),  v_a = 1 for i, -1 for j
    p_a = (Σ P(vote of a is right) + 1) / (votes of a + 2)

The last line is the mode of a Beta(2, 2) prior's posterior: an annotator who is always right gets a
finite weight. EM starts at the share of votes and stops when no probability changes by 1e-6.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEPS, TOLERANCE = 200, 1e-6


@dataclass(frozen=True, kw_only=True)
class Votes:
    """Decisions about pairs of responses, without ties."""

    pair: NDArray[np.int64]  # [V] 0 … P-1
    annotator: NDArray[np.int64]  # [V] 0 … A-1
    sign: Array  # [V] 1: the pair's first response is better, -1: the second


@dataclass(frozen=True)
class DawidSkene:
    """The fitted model."""

    first_better: Array  # [P] posterior probability; 0.5 for a pair without votes
    accuracy: Array  # [A] p_a


def dawid_skene(
    votes: Votes, *, pairs: int, annotators: int, weights: Array | None = None
) -> DawidSkene:
    """Fit the model to `votes`.

    Args:
        votes: the decisions.
        pairs: their number P.
        annotators: their number A.
        weights: [P] weight of each pair in the accuracies, for resamples; default 1.
    """
    pair, annotator, sign = votes.pair, votes.annotator, votes.sign
    weight = np.ones(len(pair)) if weights is None else weights[pair]
    votes_of_pair = np.bincount(pair, minlength=pairs)
    total = np.bincount(annotator, weight, minlength=annotators)
    share = np.bincount(pair, (1 + sign) / 2, minlength=pairs) / np.maximum(votes_of_pair, 1)
    first = np.where(votes_of_pair > 0, share, 0.5)
    accuracy = np.full(annotators, 0.5)
    for _ in range(STEPS):
        right = np.where(sign > 0, first[pair], 1 - first[pair])
        accuracy = (np.bincount(annotator, weight * right, minlength=annotators) + 1) / (total + 2)
        log_odds = np.bincount(pair, sign * _logit(accuracy)[annotator], minlength=pairs)
        new = 1 / (1 + np.exp(-log_odds))
        change = float(np.abs(new - first).max(initial=0.0))
        first = new
        if change < TOLERANCE:
            break
    return DawidSkene(first_better=first, accuracy=accuracy)


def _logit(p: Array) -> Array:
    value: Array = np.log(p / (1 - p))
    return value
