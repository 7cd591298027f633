"""Rankings that repeat or contradict each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.data.rows.split import group_key
from rlhf.types import Ranking

Pair = tuple[str, str, str]  # prompt, and two responses in alphabetical order


@dataclass(frozen=True, kw_only=True)
class Conflicts:
    """Counts over all rankings. None of these rankings is left out of the training."""

    repeated: int  # rankings that repeat an earlier one of the same responses and annotator
    contradicted: int  # pairs of responses that one named annotator ordered both ways
    disputed: int  # pairs of responses that were ordered both ways, by any annotators
    ordered_twice: int  # pairs of responses that were ordered more than once

    def lines(self) -> list[str]:
        """A sentence for each count above 0."""
        lines = []
        if self.repeated:
            lines.append(f"{self.repeated} rankings repeat an earlier one of the same annotator")
        if self.disputed:
            own = f", {self.contradicted} of them by one annotator" if self.contradicted else ""
            share = self.disputed / self.ordered_twice
            lines.append(
                f"{self.disputed} pairs of responses are ordered both ways{own} "
                f"({share:.0%} of the {self.ordered_twice} ordered more than once)"
            )
        return lines


def find_conflicts(rankings: Sequence[Ranking]) -> Conflicts:
    """Counts of repeated and contradicting rankings; prompts are equal as in a split by prompt."""
    seen: set[tuple[str, str, tuple[tuple[str, int], ...]]] = set()
    orders: dict[Pair, list[tuple[str, bool]]] = {}
    repeated = 0
    for ranking in rankings:
        prompt = group_key(ranking)
        ranked = tuple(sorted(zip(ranking.responses, ranking.ranks, strict=True)))
        repeated += (prompt, ranking.annotator, ranked) in seen
        seen.add((prompt, ranking.annotator, ranked))
        for first, second in _ordered_pairs(ranked):
            pair = (prompt, first[0], second[0])
            orders.setdefault(pair, []).append((ranking.annotator, first[1] < second[1]))
    return Conflicts(
        repeated=repeated,
        contradicted=sum(_by_one_annotator(votes) for votes in orders.values()),
        disputed=sum(len({first for _, first in votes}) > 1 for votes in orders.values()),
        ordered_twice=sum(len(votes) > 1 for votes in orders.values()),
    )


def _ordered_pairs(
    ranked: Sequence[tuple[str, int]],
) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Pairs of different texts on different ranks; each pair of texts once."""
    rank_of = dict(ranked)  # a repeated text counts once
    texts = sorted(rank_of)
    return [
        ((a, rank_of[a]), (b, rank_of[b]))
        for i, a in enumerate(texts)
        for b in texts[i + 1 :]
        if rank_of[a] != rank_of[b]
    ]


def _by_one_annotator(votes: Sequence[tuple[str, bool]]) -> bool:
    """Whether a named annotator ordered the pair both ways."""
    names = {name for name, _ in votes}
    return any(name and {(name, True), (name, False)} <= set(votes) for name in names)
