"""Who labelled how much, how well people agree, and which biases show."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rlhf.labels.records import Item, StoredLabel, order_of
from rlhf.labels.store import LabelStore


@dataclass(frozen=True)
class Share:
    """`value` of `n` cases; 0.0 of 0 where there was none."""

    value: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} (n={self.n})" if self.n else "-"


@dataclass(frozen=True, kw_only=True)
class AnnotatorStats:
    """One annotator. A pair is two answers of one item; ties are left out where sides count."""

    name: str
    labels: int
    ties: Share  # pairs said to be equal
    agreement: Share  # pairs that both decided, the same way as another annotator
    gold_agreement: Share  # decided pairs, the way of the gold score; n=0 without one
    first_shown: Share  # decided pairs won by the answer shown earlier; 0.5 is no bias
    longer: Share  # decided pairs of unequal length won by the longer answer
    seconds: float | None  # median time of an item; None where none was measured


@dataclass(frozen=True, kw_only=True)
class StoreStats:
    """The store as a whole."""

    items: int
    labelled_items: int
    labels: int
    agreement: Share
    gold_agreement: Share  # what no reward model trained on these labels should beat
    annotators: Sequence[AnnotatorStats]


def label_stats(
    store: LabelStore, gold_points: Mapping[int, Sequence[float]] | None = None
) -> StoreStats:
    """Statistics of the labels that stand.

    gold_points: the gold score of every answer, by item id; without it gold columns stay empty.
    """
    items = {item.id: item for item in store.items()}
    labels = store.labels()
    gold = gold_points or {}
    by_item: dict[int, list[StoredLabel]] = {}
    for label in labels:
        by_item.setdefault(label.item_id, []).append(label)
    names = sorted({label.annotator for label in labels})
    return StoreStats(
        items=len(items),
        labelled_items=len(by_item),
        labels=len(labels),
        agreement=_agreement(by_item.values(), lambda one, other: True),
        gold_agreement=_gold_agreement(labels, gold),
        annotators=[_of_annotator(name, items, labels, by_item, gold) for name in names],
    )


def _of_annotator(
    name: str,
    items: Mapping[int, Item],
    labels: Sequence[StoredLabel],
    by_item: Mapping[int, list[StoredLabel]],
    gold: Mapping[int, Sequence[float]],
) -> AnnotatorStats:
    own = [label for label in labels if label.annotator == name]
    decided = [
        (label, best, worst) for label in own for best, worst in _decided(label.ranks)
    ]  # (label, index of the better answer, index of the worse)
    pairs = sum(len(label.ranks) * (len(label.ranks) - 1) // 2 for label in own)
    lengths = [
        (len(items[label.item_id].responses[best]), len(items[label.item_id].responses[worst]))
        for label, best, worst in decided
    ]
    seconds = sorted(label.seconds for label in own if label.seconds is not None)
    return AnnotatorStats(
        name=name,
        labels=len(own),
        ties=Share((pairs - len(decided)) / pairs if pairs else 0.0, pairs),
        agreement=_agreement(by_item.values(), lambda one, other: name in (one, other)),
        gold_agreement=_gold_agreement(own, gold),
        first_shown=_share(
            label.order_shown.index(best) < label.order_shown.index(worst)
            for label, best, worst in decided
        ),
        longer=_share(better > worse for better, worse in lengths if better != worse),
        seconds=seconds[len(seconds) // 2] if seconds else None,
    )


def _agreement(
    by_item: Iterable[Sequence[StoredLabel]], counts: Callable[[str, str], bool]
) -> Share:
    """Over pairs of answers that two annotators of an item both decided: the same way."""
    same = []
    for of_item in by_item:
        for one, other in itertools.combinations(of_item, 2):
            if one.annotator != other.annotator and counts(one.annotator, other.annotator):
                both = ((order_of(other.ranks, i, j)) for i, j in _decided(one.ranks))
                same += [order == 1 for order in both if order]
    return _share(same)


def _gold_agreement(labels: Iterable[StoredLabel], gold: Mapping[int, Sequence[float]]) -> Share:
    """Decided pairs on which the gold score is not tied: those that it decides the same way."""
    points = [
        (gold[label.item_id][best], gold[label.item_id][worst])
        for label in labels
        if label.item_id in gold
        for best, worst in _decided(label.ranks)
    ]
    return _share(better > worse for better, worse in points if better != worse)


def _decided(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """(better, worse) of every pair that is not tied."""
    return [(i, j) for i, j in itertools.permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]


def _share(cases: Iterable[bool]) -> Share:
    values = list(cases)
    return Share(sum(values) / len(values) if values else 0.0, len(values))
