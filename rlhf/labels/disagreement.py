"""How much the annotators of one item disagree."""

import itertools
from collections.abc import Sequence

from rlhf.labels.records import LABEL, Label, order_of


def disagreement(rankings: Sequence[Sequence[int]]) -> float | None:
    """Mean over pairs of rankings and pairs of responses; None with fewer than two rankings.

    A pair that both order the same way, or both tie, is 0; one that only one of them ties is ½; one
    that they order in opposite ways is 1. For two rankings it is Kemeny's distance (Kemeny & Snell
    1962) divided by its largest value.
    """
    distances = [
        abs(order_of(one, i, j) - order_of(other, i, j)) / 2
        for one, other in itertools.combinations(rankings, 2)
        for i, j in itertools.combinations(range(len(one)), 2)
    ]
    return sum(distances) / len(distances) if distances else None


def rankings_of(labels: Sequence[Label]) -> list[Sequence[int]]:
    """The last ordinary ranking of each annotator."""
    return list({one.annotator: one.ranks for one in labels if one.purpose == LABEL}.values())
