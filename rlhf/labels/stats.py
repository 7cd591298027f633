"""Who labelled how much, how well people agree, and which biases show."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rlhf.labels.agreement import Alpha, rank_alpha
from rlhf.labels.records import (
    GOLD_CHECK,
    LABEL,
    REPEAT,
    Item,
    StoredLabel,
    competition_ranks,
    order_of,
)
from rlhf.labels.schema import LATE, SKIP
from rlhf.labels.store import LabelStore

TOO_FAST = 0.3  # share of the median time of all that nobody reads in
FEW = 20  # cases below which nothing is said of a person
SMALL = 0.025  # of a bias: one pair in forty, which many labels show and nobody need look at


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
    decided: int  # pairs not tied
    first_shown: Share  # those of a known order won by the answer shown earlier; 0.5 is no bias
    longer: Share  # decided pairs of unequal length won by the longer answer
    seconds: float | None  # median time of an item; None where none was measured
    gold_items: Share  # pairs of gold items decided as their known ranks do
    self_agreement: Share  # pairs of repeated items decided the same way twice
    too_fast: Share  # labels made in less than TOO_FAST of the median second per word


@dataclass(frozen=True, kw_only=True)
class Concern:
    """Somebody to be looked at, and why."""

    annotator: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StoreStats:
    """The store as a whole."""

    items: int
    labelled_items: int
    labels: int
    agreement: Share
    gold_agreement: Share  # what no reward model trained on these labels should beat
    annotators: Sequence[AnnotatorStats]
    alpha: Alpha
    matrix: Mapping[str, Mapping[str, Share]]  # agreement of each two annotators
    concerns: Sequence[Concern]
    skips: int
    late: int  # labels that came after their place was given to somebody else

    @property
    def names(self) -> Sequence[str]:
        """Annotators, as the matrix counts them."""
        return [one.name for one in self.annotators]


def label_stats(
    store: LabelStore, gold_points: Mapping[int, Sequence[float]] | None = None
) -> StoreStats:
    """Statistics of the labels that stand.

    gold_points: the gold score of every answer, by item id; without it gold columns stay empty.
    """
    items = {item.id: item for item in store.items()}
    every = store.labels()
    labels = [label for label in every if label.purpose == LABEL]
    gold, known = gold_points or {}, store.gold_ranks()
    by_item: dict[int, list[StoredLabel]] = {}
    for label in labels:
        by_item.setdefault(label.item_id, []).append(label)
    names = sorted({label.annotator for label in every})
    pace = _pace(items, every)
    same = _same_way(by_item.values())
    annotators = [
        _of_annotator(
            name, items, [one for one in every if one.annotator == name], same, gold, known, pace
        )
        for name in names
    ]
    counts = store.count_events()
    return StoreStats(
        items=len(items),
        labelled_items=len(by_item),
        labels=len(labels),
        agreement=_pooled_counts(same.values()),
        gold_agreement=_gold_agreement(labels, gold),
        annotators=annotators,
        alpha=rank_alpha({item: _ranks_by_person(said) for item, said in by_item.items()}),
        matrix={
            name: {
                other: _pooled_counts([same.get(_pair_of(name, other), (0, 0))])
                for other in names
                if other != name
            }
            for name in names
        },
        concerns=[concern for one in annotators for concern in _concerns(one, annotators)],
        skips=counts.get(SKIP, 0),
        late=counts.get(LATE, 0),
    )


def _ranks_by_person(said: Sequence[StoredLabel]) -> list[list[int]]:
    """Each annotator's last ranks of an item, from 1 to K: rankings made elsewhere may say 1 and
    900, and somebody who ranked an item twice is not two who agree."""
    return list({one.annotator: competition_ranks(one.ranks) for one in said}.values())


def _of_annotator(
    name: str,
    items: Mapping[int, Item],
    said: Sequence[StoredLabel],
    same: Mapping[tuple[str, str], tuple[int, int]],
    gold: Mapping[int, Sequence[float]],
    known: Mapping[int, Sequence[int]],
    pace: float,
) -> AnnotatorStats:
    own = [label for label in said if label.purpose == LABEL]
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
        agreement=_pooled_counts(count for pair, count in same.items() if name in pair),
        gold_agreement=_gold_agreement(own, gold),
        decided=len(decided),
        first_shown=_share(
            label.order_shown.index(best) < label.order_shown.index(worst)
            for label, best, worst in decided
            if label.order_shown
        ),
        longer=_share(better > worse for better, worse in lengths if better != worse),
        seconds=seconds[len(seconds) // 2] if seconds else None,
        gold_items=_share(
            same
            for label in said
            if label.purpose == GOLD_CHECK and label.item_id in known
            for same in _same_pairs(known[label.item_id], label.ranks)
        ),
        self_agreement=_self_agreement(said),
        too_fast=_share(
            label.seconds / words_of(items[label.item_id]) < TOO_FAST * pace
            for label in said
            if label.seconds is not None
        ),
    )


def words_of(item: Item) -> int:
    """Words of the answers, what there is to read."""
    return max(1, sum(len(text.split()) for text in item.responses))


def _pace(items: Mapping[int, Item], labels: Sequence[StoredLabel]) -> float:
    """Median seconds a word over all labels whose time was measured."""
    paces = sorted(
        label.seconds / words_of(items[label.item_id])
        for label in labels
        if label.seconds is not None
    )
    return paces[len(paces) // 2] if paces else 0.0


def _same_pairs(one: Sequence[int], other: Sequence[int]) -> list[bool]:
    """Of the pairs that both decide, whether the same way."""
    orders = [order_of(other, i, j) for i, j in _decided(one)]
    return [order == 1 for order in orders if order]


def _self_agreement(said: Sequence[StoredLabel]) -> Share:
    first = {label.item_id: label for label in said if label.purpose == LABEL}
    return _share(
        same
        for label in said
        if label.purpose == REPEAT and label.item_id in first
        for same in _same_pairs(first[label.item_id].ranks, label.ranks)
    )


def _same_way(
    by_item: Iterable[Sequence[StoredLabel]],
) -> dict[tuple[str, str], tuple[int, int]]:
    """Two annotators -> of the pairs of answers that both decided, (the same way, all)."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for of_item in by_item:
        for one, other in itertools.combinations(of_item, 2):
            if one.annotator != other.annotator:
                pair = _pair_of(one.annotator, other.annotator)
                cases = _same_pairs(one.ranks, other.ranks)
                same, total = counts.get(pair, (0, 0))
                counts[pair] = (same + sum(cases), total + len(cases))
    return counts


def _pair_of(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _pooled_counts(counts: Iterable[tuple[int, int]]) -> Share:
    each = list(counts)
    same, total = sum(one for one, _ in each), sum(all_ for _, all_ in each)
    return Share(same / total if total else 0.0, total)


def _concerns(one: AnnotatorStats, everybody: Sequence[AnnotatorStats]) -> list[Concern]:
    """What is further from where it should be than chance explains (two-sided, 1 in 1000), and
    than is worth somebody's time.

    The longer answer may be the better one: what is looked at is how far from the others' share
    of longer winners somebody is, by both sides' deviations.
    """
    reasons = []
    others = _pooled([other.longer for other in everybody if other is not one])
    if min(one.longer.n, others.n) >= FEW:
        all_ = _pooled([one.longer, others])
        spread = math.sqrt(all_.value * (1 - all_.value) * (1 / one.longer.n + 1 / others.n))
        if abs(one.longer.value - others.value) > max(3.29 * spread, SMALL):
            reasons.append(f"{one.longer} of pairs won by the longer answer, {others} with others")
    for share, should, words in (
        (one.first_shown, 0.5, "of pairs won by the answer shown first, 0.5 is no bias"),
        (one.gold_items, 0.9, "right on gold items, 0.9 is expected"),
        (one.self_agreement, 0.8, "the same answer to a repeated item, 0.8 is expected"),
    ):
        far = _deviations(share, should)
        if abs(far) > 3.29 and (far < 0 or should == 0.5) and abs(share.value - should) > SMALL:
            reasons.append(f"{share} {words}")
    if one.agreement.n >= FEW and _deviations(one.agreement, 0.6) < -3.29:
        reasons.append(f"{one.agreement} agreement with others")
    if one.too_fast.n >= FEW and one.too_fast.value > 0.2:
        reasons.append(f"{one.too_fast} of labels faster than can be read")
    if one.ties.n >= FEW and one.ties.value > 0.8:
        reasons.append(f"{one.ties} of pairs tied")
    return [Concern(annotator=one.name, reason=reason) for reason in reasons]


def _pooled(shares: Sequence[Share]) -> Share:
    total = sum(share.n for share in shares)
    return Share(sum(share.value * share.n for share in shares) / total if total else 0.0, total)


def _deviations(share: Share, should: float) -> float:
    """How many standard deviations of a share of n the value is from what it should be."""
    if share.n < FEW:
        return 0.0
    return (share.value - should) / math.sqrt(should * (1 - should) / share.n)


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
