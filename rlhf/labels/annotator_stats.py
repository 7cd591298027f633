"""Statistics of one annotator: how much, how fast, how consistent, and with which biases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rlhf.labels.records import GOLD_CHECK, LABEL, REPEAT, Item, StoredLabel
from rlhf.labels.shares import Share, decided_pairs, same_decisions, share_of, share_of_counts

# A label made in less than this share of the median time per word was not read.
TOO_FAST = 0.3

PairCounts = Mapping[tuple[str, str], tuple[int, int]]
"""Two annotators -> of the pairs that both decided, (decided the same way, all)."""


@dataclass(frozen=True, kw_only=True)
class AnnotatorStats:
    """One annotator. A pair is two responses of one item; most shares leave tied pairs out."""

    name: str
    labels: int
    ties: Share  # pairs that were tied
    agreement: Share  # pairs that both decided, the same way as another annotator
    gold_agreement: Share  # decided pairs, the way of the gold score; n=0 without one
    decided: int  # pairs not tied
    first_shown: Share  # pairs of a known order won by the response shown earlier; 0.5 is no bias
    longer: Share  # decided pairs of unequal length won by the longer response
    seconds: float | None  # median time of an item; None if none was measured
    gold_items: Share  # pairs of gold items decided as their known ranks do
    self_agreement: Share  # pairs of repeated items decided the same way twice
    too_fast: Share  # labels made in less than TOO_FAST of the median seconds per word


@dataclass(frozen=True, kw_only=True)
class StatsInput:
    """What the statistics of every annotator are computed from."""

    items: Mapping[int, Item]
    pair_counts: PairCounts
    gold_scores: Mapping[int, Sequence[float]]  # item id -> gold score of each response
    gold_ranks: Mapping[int, Sequence[int]]  # gold item id -> known ranks
    seconds_per_word: float  # median over all labels


def annotator_stats(name: str, labels: Sequence[StoredLabel], data: StatsInput) -> AnnotatorStats:
    """Statistics of one annotator's labels, repeats and gold items included."""
    ordinary = [label for label in labels if label.purpose == LABEL]
    decided = [
        (label, better, worse) for label in ordinary for better, worse in decided_pairs(label.ranks)
    ]
    num_pairs = sum(len(label.ranks) * (len(label.ranks) - 1) // 2 for label in ordinary)
    lengths = [
        tuple(len(data.items[label.item_id].responses[index]) for index in (better, worse))
        for label, better, worse in decided
    ]
    seconds = sorted(label.seconds for label in ordinary if label.seconds is not None)
    return AnnotatorStats(
        name=name,
        labels=len(ordinary),
        ties=share_of_counts([(num_pairs - len(decided), num_pairs)]),
        agreement=share_of_counts(
            count for pair, count in data.pair_counts.items() if name in pair
        ),
        gold_agreement=gold_agreement(ordinary, data.gold_scores),
        decided=len(decided),
        first_shown=share_of(
            label.order_shown.index(better) < label.order_shown.index(worse)
            for label, better, worse in decided
            if label.order_shown
        ),
        longer=share_of(better > worse for better, worse in lengths if better != worse),
        seconds=seconds[len(seconds) // 2] if seconds else None,
        gold_items=share_of(
            same
            for label in labels
            if label.purpose == GOLD_CHECK and label.item_id in data.gold_ranks
            for same in same_decisions(data.gold_ranks[label.item_id], label.ranks)
        ),
        self_agreement=_self_agreement(labels),
        too_fast=share_of(
            label.seconds / num_words(data.items[label.item_id]) < TOO_FAST * data.seconds_per_word
            for label in labels
            if label.seconds is not None
        ),
    )


def num_words(item: Item) -> int:
    """Words of all responses, at least 1: the amount to read."""
    return max(1, sum(len(text.split()) for text in item.responses))


def median_seconds_per_word(items: Mapping[int, Item], labels: Sequence[StoredLabel]) -> float:
    """Median over all labels with a measured time; 0.0 without any."""
    paces = sorted(
        label.seconds / num_words(items[label.item_id])
        for label in labels
        if label.seconds is not None
    )
    return paces[len(paces) // 2] if paces else 0.0


def gold_agreement(
    labels: Iterable[StoredLabel], gold_scores: Mapping[int, Sequence[float]]
) -> Share:
    """Share of decided pairs, without ties of the gold score, that it decides the same way."""
    scores = [
        (gold_scores[label.item_id][better], gold_scores[label.item_id][worse])
        for label in labels
        if label.item_id in gold_scores
        for better, worse in decided_pairs(label.ranks)
    ]
    return share_of(better > worse for better, worse in scores if better != worse)


def _self_agreement(labels: Sequence[StoredLabel]) -> Share:
    first = {label.item_id: label for label in labels if label.purpose == LABEL}
    return share_of(
        same
        for label in labels
        if label.purpose == REPEAT and label.item_id in first
        for same in same_decisions(first[label.item_id].ranks, label.ranks)
    )
