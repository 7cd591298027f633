"""The effect of pre-labels: labels with and without a look at the reward model's ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.labels.disagreement import disagreement
from rlhf.labels.pre_labels import model_ranks, record_of
from rlhf.labels.records import GOLD_CHECK, LABEL, StoredLabel
from rlhf.labels.shares import Share, same_decisions, share_of


@dataclass(frozen=True, kw_only=True)
class Group:
    """Labels with the ranking shown, or held-out ones. Shares are of pairs of responses."""

    labels: int
    with_model: Share  # decided as the reward model does
    with_others: Share  # decided as another annotator does
    gold: Share  # gold pairs decided correctly


@dataclass(frozen=True, kw_only=True)
class PreLabelEffect:
    """Both groups, and what happened after the ranking was shown.

    The groups are drawn at random, so that a difference between them is an effect of the ranking.
    """

    shown: Group
    held_out: Group
    changed: Share  # of the labels with the ranking shown
    towards_model: Share  # of the changed ones: nearer to the model's ranking than before
    first_with_model: Share  # pairs of first choices in `shown` decided as the model does


def pre_label_effect(
    labels: Sequence[StoredLabel], gold_ranks: Mapping[int, Sequence[int]]
) -> PreLabelEffect | None:
    """The effect in these labels; None if no label has a pre-label."""
    marked = [label for label in labels if record_of(label) is not None]
    if not marked:
        return None
    by_item: dict[int, list[StoredLabel]] = {}
    for label in labels:
        if label.purpose == LABEL:
            by_item.setdefault(label.item_id, []).append(label)
    shown = [label for label in marked if _is_shown(label)]
    held_out = [label for label in marked if not _is_shown(label)]
    changed = [label for label in shown if first_ranks(label) != list(label.ranks)]
    return PreLabelEffect(
        shown=_group(shown, by_item, gold_ranks),
        held_out=_group(held_out, by_item, gold_ranks),
        changed=share_of(first_ranks(label) != list(label.ranks) for label in shown),
        towards_model=share_of(
            _distance(label.ranks, label) < _distance(first_ranks(label), label)
            for label in changed
        ),
        first_with_model=share_of(
            same
            for label in shown
            for same in same_decisions(model_ranks(label), first_ranks(label))
        ),
    )


def first_ranks(label: StoredLabel) -> list[int]:
    """The annotator's choice before the ranking was shown."""
    record = record_of(label) or {}
    first = record.get("first_ranks", label.ranks)
    assert isinstance(first, Sequence)
    return list(first)


def _is_shown(label: StoredLabel) -> bool:
    return bool((record_of(label) or {}).get("shown"))


def _distance(ranks: Sequence[int], label: StoredLabel) -> float:
    return disagreement([ranks, model_ranks(label)]) or 0.0


def _group(
    labels: Sequence[StoredLabel],
    by_item: Mapping[int, Sequence[StoredLabel]],
    gold_ranks: Mapping[int, Sequence[int]],
) -> Group:
    return Group(
        labels=len(labels),
        with_model=share_of(
            same for label in labels for same in same_decisions(model_ranks(label), label.ranks)
        ),
        with_others=share_of(
            same
            for label in labels
            if label.purpose == LABEL
            for other in by_item[label.item_id]
            if other.annotator != label.annotator
            for same in same_decisions(other.ranks, label.ranks)
        ),
        gold=share_of(
            same
            for label in labels
            if label.purpose == GOLD_CHECK and label.item_id in gold_ranks
            for same in same_decisions(gold_ranks[label.item_id], label.ranks)
        ),
    )
