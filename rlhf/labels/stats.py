"""Statistics of a label store: amounts, agreement and biases of its annotators."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlhf.labels.agreement import Alpha, rank_alpha
from rlhf.labels.annotator_stats import (
    AnnotatorStats,
    StatsInput,
    annotator_stats,
    gold_agreement,
    median_seconds_per_word,
)
from rlhf.labels.answer_stats import AnswerStats, answer_stats
from rlhf.labels.concerns import Concern, concerns_of
from rlhf.labels.form_versions import forms_of
from rlhf.labels.pre_label_effect import PreLabelEffect, pre_label_effect
from rlhf.labels.records import LABEL, StoredLabel, competition_ranks, is_of_visitor
from rlhf.labels.schema import LATE, SKIP
from rlhf.labels.shares import Share, same_decisions, share_of_counts

if TYPE_CHECKING:
    from rlhf.labels.store import LabelStore


@dataclass(frozen=True, kw_only=True)
class StoreStats:
    """The store as a whole."""

    items: int
    labelled_items: int
    labels: int
    agreement: Share  # pairs that two annotators decided, the same way
    gold_agreement: Share  # upper bound for a reward model that is trained on these labels
    annotators: Sequence[AnnotatorStats]
    alpha: Alpha
    matrix: Mapping[str, Mapping[str, Share]]  # agreement of each two annotators
    concerns: Sequence[Concern]
    skips: int
    late: int  # labels that came after their place was given to another annotator
    visitors_votes: int  # of the arena; they are in none of the other figures
    pre_labels: PreLabelEffect | None  # None if no label has one
    answers: AnswerStats  # to the form's criteria

    @property
    def names(self) -> Sequence[str]:
        """Annotators, in the order of the matrix."""
        return [one.name for one in self.annotators]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well annotators agree. Values are NaN where n is 0: there are not enough labels."""

    alpha: Alpha  # Krippendorff's alpha of the ranks, with its 95% interval
    pairs: Share  # pairs of responses that two annotators decided, the same way
    by_annotators: Mapping[str, Mapping[str, Share]]  # the same for each two annotators

    def __str__(self) -> str:
        if not self.alpha.n and not self.pairs.n:
            return "not enough labels: agreement needs items that two annotators ranked"
        return f"alpha {self.alpha}, same decision on {self.pairs} of pairs"


def agreement_of(stats: StoreStats) -> Agreement:
    """The agreement in a store's statistics."""
    return Agreement(alpha=stats.alpha, pairs=stats.agreement, by_annotators=stats.matrix)


def label_stats(
    store: "LabelStore", gold_scores: Mapping[int, Sequence[float]] | None = None
) -> StoreStats:
    """Statistics of the labels that were not undone.

    gold_scores: item id -> gold score of each response; gold columns stay empty without them.
    """
    items = {item.id: item for item in store.items()}
    stored = store.labels()
    all_labels = [label for label in stored if not is_of_visitor(label)]
    with store.read() as connection:
        forms = forms_of(connection)
    labels = [label for label in all_labels if label.purpose == LABEL]
    by_item: dict[int, list[StoredLabel]] = {}
    for label in labels:
        by_item.setdefault(label.item_id, []).append(label)
    data = StatsInput(
        items=items,
        pair_counts=_pair_counts(by_item.values()),
        gold_scores=gold_scores or {},
        gold_ranks=store.gold_ranks(),
        seconds_per_word=median_seconds_per_word(items, all_labels),
    )
    names = sorted({label.annotator for label in all_labels})
    annotators = [
        annotator_stats(name, [one for one in all_labels if one.annotator == name], data)
        for name in names
    ]
    counts = store.count_events()
    return StoreStats(
        items=len(items),
        labelled_items=len(by_item),
        labels=len(labels),
        agreement=share_of_counts(data.pair_counts.values()),
        gold_agreement=gold_agreement(labels, data.gold_scores),
        annotators=annotators,
        alpha=rank_alpha({item: _ranks_by_annotator(one) for item, one in by_item.items()}),
        matrix={
            name: {
                other: share_of_counts([data.pair_counts.get(_pair_of(name, other), (0, 0))])
                for other in names
                if other != name
            }
            for name in names
        },
        concerns=[concern for one in annotators for concern in concerns_of(one, annotators)],
        skips=counts.get(SKIP, 0),
        late=counts.get(LATE, 0),
        visitors_votes=len(stored) - len(all_labels),
        pre_labels=pre_label_effect(all_labels, data.gold_ranks),
        answers=answer_stats(labels, forms),
    )


def _ranks_by_annotator(labels: Sequence[StoredLabel]) -> list[list[int]]:
    """Each annotator's last ranks of an item, from 1 to K.

    Rankings from elsewhere may use 1 and 900. Two labels of one annotator are no agreement.
    """
    return list({label.annotator: competition_ranks(label.ranks) for label in labels}.values())


def _pair_counts(
    by_item: Iterable[Sequence[StoredLabel]],
) -> dict[tuple[str, str], tuple[int, int]]:
    """Two annotators -> of the pairs that both decided, (decided the same way, all)."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for labels in by_item:
        for one, other in itertools.combinations(labels, 2):
            if one.annotator != other.annotator:
                pair = _pair_of(one.annotator, other.annotator)
                decisions = same_decisions(one.ranks, other.ranks)
                same, total = counts.get(pair, (0, 0))
                counts[pair] = (same + sum(decisions), total + len(decisions))
    return counts


def _pair_of(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
