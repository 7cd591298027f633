"""The exact best gold score at a given KL from a reference, by recursion.

The policy that maximises E[gold] - beta KL(policy || p) is p exp(gold / beta) / Z (Donsker &
Varadhan), and by Lagrange duality no other policy of the same KL has a higher gold score. If p is a
Markov chain and the gold score a sum over symbols, this policy is a Markov chain too:

    Z_t(s)      = sum_u p_t(u | s) exp(w_u / beta) Z_{t+1}(u),   Z_T = 1
    pi_t(u | s) = p_t(u | s) exp(w_u / beta) Z_{t+1}(u) / Z_t(s)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A policy whose next symbol depends only on the last symbol and the time."""

    steps: Array  # [T, S, S]: p_t(u | s), rows sum to 1
    start: Array  # [S]: how often each symbol precedes the response
    gains: Array  # [S]: contribution of each symbol to the gold score


def tilted(reference: Reference, beta: float) -> tuple[float, float]:
    """(gold score, KL) of p exp(gold / beta) / Z; KL in nats per response, mean over starts."""
    log_z = np.zeros(len(reference.gains))
    policies = []
    with np.errstate(divide="ignore"):  # log 0: a symbol that cannot follow
        steps = np.log(reference.steps)
    for step in steps[::-1]:
        scores = step + (reference.gains / beta + log_z)[None, :]
        log_z = np.logaddexp.reduce(scores, axis=1)
        policies.append(np.exp(scores - log_z[:, None]))
    gold, last = 0.0, reference.start
    for policy in policies[::-1]:
        last = last @ policy
        gold += float(last @ reference.gains)
    return gold, gold / beta - float(reference.start @ log_z)


def best_gold(reference: Reference, kl: float) -> float:
    """The highest gold score of any policy whose KL is `kl` nats per response."""
    low, high = np.log(1e-3), np.log(1e6)  # bounds of log beta; the KL falls as beta rises
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted(reference, np.exp(middle))[1] > kl else (low, middle)
    return tilted(reference, np.exp(high))[0]


def gold_of_reference(reference: Reference) -> float:
    """Expected gold score of the reference itself."""
    gold, last = 0.0, reference.start
    for step in reference.steps:
        last = last @ step
        gold += float(last @ reference.gains)
    return gold


def efficiency(reference: Reference, gold: float, kl: float) -> float:
    """Gain in gold score as a share of the best possible gain at this KL; 1 is optimal."""
    start = gold_of_reference(reference)
    return (gold - start) / (best_gold(reference, kl) - start)
