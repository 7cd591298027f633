"""The best gold score that can be had at a given KL from a reference: exactly, by recursion.

Among all policies the one that maximises E[gold] - beta KL(policy || p) is p exp(gold / beta) / Z
(Donsker & Varadhan), and by Lagrange no policy of its KL has a higher gold score. Where p is a
Markov chain and gold a sum over symbols, it is a Markov chain too:

    Z_t(s)      = sum_u p_t(u | s) exp(w_u / beta) Z_{t+1}(u),   Z_T = 1
    pi_t(u | s) = p_t(u | s) exp(w_u / beta) Z_{t+1}(u) / Z_t(s)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A policy that looks at the last symbol and the time alone."""

    steps: Array  # [T, S, S]: p_t(u | s), rows sum to 1
    start: Array  # [S]: how often each symbol stands before the answer
    gains: Array  # [S]: what a symbol adds to the gold score


def tilted(reference: Reference, beta: float) -> tuple[float, float]:
    """(gold, KL) of p exp(gold / beta) / Z; KL in nats a sequence, mean over starts."""
    log_z = np.zeros(len(reference.gains))
    policies = []
    with np.errstate(divide="ignore"):  # log 0 is what cannot happen
        steps = np.log(reference.steps)
    for step in steps[::-1]:
        scores = step + (reference.gains / beta + log_z)[None, :]
        log_z = np.logaddexp.reduce(scores, axis=1)
        policies.append(np.exp(scores - log_z[:, None]))
    gold, place = 0.0, reference.start
    for policy in policies[::-1]:
        place = place @ policy
        gold += float(place @ reference.gains)
    return gold, gold / beta - float(reference.start @ log_z)


def best_gold(reference: Reference, kl: float) -> float:
    """The highest gold score of any policy whose KL is `kl` nats a sequence."""
    low, high = np.log(1e-3), np.log(1e6)  # of beta: KL falls as it rises
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted(reference, np.exp(middle))[1] > kl else (low, middle)
    return tilted(reference, np.exp(high))[0]


def gold_of(reference: Reference) -> float:
    """The reference's own."""
    gold, place = 0.0, reference.start
    for step in reference.steps:
        place = place @ step
        gold += float(place @ reference.gains)
    return gold


def efficiency(reference: Reference, gold: float, kl: float) -> float:
    """The share of what could be gained at this KL that was: 1 is the best there is."""
    start = gold_of(reference)
    return (gold - start) / (best_gold(reference, kl) - start)
