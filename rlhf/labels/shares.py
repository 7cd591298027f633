"""Shares of cases, and the pairs of responses that they count."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlhf.labels.records import order_of


@dataclass(frozen=True)
class Share:
    """`value` is the share of `n` cases; NaN for n=0."""

    value: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} (n={self.n})" if self.n else "-"


def share_of(cases: Iterable[bool]) -> Share:
    """The share of cases that are true."""
    values = list(cases)
    return share_of_counts([(sum(values), len(values))])


def share_of_counts(counts: Iterable[tuple[float, int]]) -> Share:
    """The share over several (true cases, all cases)."""
    pairs = list(counts)
    true, total = sum(one for one, _ in pairs), sum(count for _, count in pairs)
    return Share(true / total if total else math.nan, total)


def pooled(shares: Sequence[Share]) -> Share:
    """The share over the cases of several shares."""
    return share_of_counts([(share.value * share.n, share.n) for share in shares if share.n])


def decided_pairs(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """(index of the better response, of the worse) of every pair that is not tied."""
    return [(i, j) for i, j in itertools.permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]


def same_decisions(ranks: Sequence[int], other: Sequence[int]) -> list[bool]:
    """For each pair that both rankings decide, whether they decide it the same way."""
    orders = [order_of(other, i, j) for i, j in decided_pairs(ranks)]
    return [order == 1 for order in orders if order]
