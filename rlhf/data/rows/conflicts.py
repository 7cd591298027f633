"""What rankings say twice, and what they say both ways."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.data.rows.split import group_key
from rlhf.types import Ranking

Pair = tuple[str, str, str]  # prompt, and two answers in the order of their letters


@dataclass(frozen=True, kw_only=True)
class Conflicts:
    """Counts over all rankings. Nothing is left out of the training for it."""

    repeated: int  # rankings that say of the same answers what their annotator has said before
    contradicted: int  # pairs of answers that one named annotator ordered both ways
    disputed: int  # pairs of answers that were ordered both ways, by whomever
    ordered_twice: int  # pairs of answers that were ordered more than once

    def lines(self) -> list[str]:
        """What there is to say of it, a sentence each; nothing where there is nothing."""
        found = []
        if self.repeated:
            found.append(f"{self.repeated} rankings repeat what their annotator said before")
        if self.disputed:
            own = f", {self.contradicted} of them by one annotator" if self.contradicted else ""
            share = self.disputed / self.ordered_twice
            found.append(
                f"{self.disputed} pairs of answers are ordered both ways{own} "
                f"({share:.0%} of the {self.ordered_twice} ordered more than once)"
            )
        return found


def find_conflicts(rankings: Sequence[Ranking]) -> Conflicts:
    """Repeated and contradicting rankings, prompts told apart as in a split by prompt."""
    said: set[tuple[str, str, tuple[tuple[str, int], ...]]] = set()
    orders: dict[Pair, list[tuple[str, bool]]] = {}
    repeated = 0
    for ranking in rankings:
        prompt = group_key(ranking)
        answers = tuple(sorted(zip(ranking.responses, ranking.ranks, strict=True)))
        repeated += (prompt, ranking.annotator, answers) in said
        said.add((prompt, ranking.annotator, answers))
        for first, second in _decided(answers):
            pair = (prompt, first[0], second[0])
            orders.setdefault(pair, []).append((ranking.annotator, first[1] < second[1]))
    return Conflicts(
        repeated=repeated,
        contradicted=sum(_by_one_person(given) for given in orders.values()),
        disputed=sum(len({first for _, first in given}) > 1 for given in orders.values()),
        ordered_twice=sum(len(given) > 1 for given in orders.values()),
    )


def _decided(
    answers: Sequence[tuple[str, int]],
) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Pairs of different texts on different ranks; each pair of texts once."""
    each = dict(answers)  # a text that stands twice counts once
    texts = sorted(each)
    return [
        ((a, each[a]), (b, each[b]))
        for i, a in enumerate(texts)
        for b in texts[i + 1 :]
        if each[a] != each[b]
    ]


def _by_one_person(given: Sequence[tuple[str, bool]]) -> bool:
    """Whether a named annotator ordered the pair both ways."""
    people = {name for name, _ in set(given)}
    return any(name and {(name, True), (name, False)} <= set(given) for name in people)
