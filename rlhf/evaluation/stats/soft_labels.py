"""Labels as distributions: the share of people who prefer a response, in place of one winner."""

from collections.abc import Sequence

import numpy as np

UNANIMOUS, MAJORITY, SPLIT = "unanimous", "majority", "split"
KINDS = (UNANIMOUS, MAJORITY, SPLIT)
LARGE_MAJORITY = 2 / 3  # of the votes; with fewer people split


def kind_of_votes(share: float) -> str:
    """How clearly people prefer one response, from the share of votes for the first one.

    Unanimous: all votes. Majority: two thirds of them or more. Split: fewer. A tie is half a vote
    for each.
    """
    largest = max(share, 1 - share)
    if largest > 1 - 1e-9:
        return UNANIMOUS
    return MAJORITY if largest >= LARGE_MAJORITY - 1e-9 else SPLIT


def soft_divergence(probabilities: Sequence[float], shares: Sequence[float]) -> list[float]:
    """KL(votes || model) of each pair in nats: 0 if the model predicts the share of the votes.

        s log(s/p) + (1 - s) log((1 - s)/(1 - p))

    Unlike the accuracy it does not ask for a winner where people split: a model that is certain
    there is penalised, and one that predicts ½ is not.

    Args:
        probabilities: the model's, of the first response being preferred.
        shares: of the votes for it, a tie counting half.
    """
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, 1 - 1e-12)
    s = np.asarray(shares, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(s > 0, s * np.log(s / p), 0.0)
        second = np.where(s < 1, (1 - s) * np.log((1 - s) / (1 - p)), 0.0)
    return [float(value) for value in first + second]
