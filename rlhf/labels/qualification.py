"""Qualification round: gold items with feedback before an annotator's first item.

A round is `items` labels of gold items. It is passed if the share of their pairs that the annotator
decides as the known ranks do reaches the pass mark. A tie decides no pair. After a failed round the
next one begins, with gold items that the annotator has not seen if there are any.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.gold_items import gold_ranks
from rlhf.labels.records import QUALIFY, StoredLabel, order_of
from rlhf.labels.schema import GOLD, SUBMIT, claims, events, items
from rlhf.labels.shares import decided_pairs


@dataclass(frozen=True)
class Goal:
    """What an annotator has to reach."""

    items: int  # gold items in a round
    pass_mark: float
    tries: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far an annotator is."""

    passed: bool
    failed: bool  # no round is left
    round: int  # the round that is open, or the last one, from 1
    done: int  # labels in it
    items: int  # of so many
    correct: int  # pairs of its items decided as the known ranks do
    pairs: int  # pairs of its items that the known ranks decide

    @property
    def share(self) -> float:
        """Share of pairs decided correctly; 0.0 without any."""
        return self.correct / self.pairs if self.pairs else 0.0


def standing(connection: sa.Connection, annotator: str, goal: Goal) -> Standing:
    """The annotator's standing; an empty stock of gold items is passed."""
    known = gold_ranks(connection)
    size = min(goal.items, len(known))
    labels = [label for label in _labels(connection, annotator) if label.item_id in known]
    if size == 0:
        return Standing(passed=True, failed=False, round=1, done=0, items=0, correct=0, pairs=0)
    rounds = [labels[start : start + size] for start in range(0, len(labels), size)] or [[]]
    for number, labels_of_round in enumerate(rounds, 1):
        state = _standing_of_round(number, labels_of_round, known, size, goal)
        if state.passed or state.failed:
            return state
    if len(rounds[-1]) == size:  # failed, and another round is left
        return _standing_of_round(len(rounds) + 1, [], known, size, goal)
    return state


def _standing_of_round(
    number: int,
    labels: Sequence[StoredLabel],
    known: Mapping[int, Sequence[int]],
    size: int,
    goal: Goal,
) -> Standing:
    scores = [score(known[label.item_id], label.ranks) for label in labels]
    correct, pairs = sum(one for one, _ in scores), sum(count for _, count in scores)
    is_complete = len(labels) == size
    passed = is_complete and (not pairs or correct / pairs >= goal.pass_mark)
    return Standing(
        passed=passed,
        failed=is_complete and not passed and number >= goal.tries,
        round=number,
        done=len(labels),
        items=size,
        correct=correct,
        pairs=pairs,
    )


def score(known: Sequence[int], ranks: Sequence[int]) -> tuple[int, int]:
    """(pairs that `ranks` decides as `known` does, pairs that `known` decides)."""
    pairs = decided_pairs(known)
    return sum(order_of(ranks, better, worse) == 1 for better, worse in pairs), len(pairs)


def next_item(connection: sa.Connection, annotator: str, goal: Goal, seed: int) -> int | None:
    """A gold item for the open round: one that the annotator has not seen, if there is one."""
    known = gold_ranks(connection)
    labels = [label for label in _labels(connection, annotator) if label.item_id in known]
    size = min(goal.items, len(known))
    in_round = {label.item_id for label in labels[len(labels) - len(labels) % size :]}
    claimed = sa.select(claims.c.item_id).where(claims.c.annotator == annotator)
    unseen = sa.select(items.c.id).where(items.c.queue == GOLD, items.c.id.not_in(claimed))
    rng = random.Random(f"{seed} {annotator} qualification {len(labels)}")
    for ids in (sorted(connection.scalars(unseen)), sorted(set(known) - in_round)):
        if ids:
            return int(rng.choice(ids))
    return None


def _labels(connection: sa.Connection, annotator: str) -> list[StoredLabel]:
    """The annotator's labels of qualification rounds, oldest first, without undone ones."""
    query = (
        sa.select(events)
        .join(claims, claims.c.id == events.c.claim_id)
        .where(claims.c.annotator == annotator, claims.c.purpose == QUALIFY)
        .where(events.c.kind == SUBMIT)
        .order_by(events.c.id)
    )
    rows = connection.execute(queries.without_undone(query))
    return [queries.stored_label(row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What an annotator learns after a gold item of the qualification round."""

    item_id: int
    ranks: Sequence[int]  # theirs, in the item's order
    known: Sequence[int]
    order_shown: Sequence[int]
    explanation: str  # the column `explanation` of the gold row
    standing: Standing


def feedback(
    connection: sa.Connection, annotator: str, claim_id: int, goal: Goal
) -> Feedback | None:
    """The feedback on the label of a claim; None if it was no item of a qualification round."""
    query = (
        sa.select(events)
        .join(claims, claims.c.id == events.c.claim_id)
        .where(claims.c.id == claim_id, claims.c.annotator == annotator)
        .where(claims.c.purpose == QUALIFY, events.c.kind == SUBMIT)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    label = queries.stored_label(row)
    known = gold_ranks(connection).get(label.item_id)
    columns = connection.scalar(sa.select(items.c.columns).where(items.c.id == label.item_id))
    explanation = (columns or {}).get("explanation")
    return Feedback(
        item_id=label.item_id,
        ranks=tuple(label.ranks),
        known=tuple(known or label.ranks),
        order_shown=tuple(label.order_shown),
        explanation=explanation if isinstance(explanation, str) else "",
        standing=_standing_after(connection, annotator, label.event_id, goal),
    )


def _standing_after(
    connection: sa.Connection, annotator: str, event_id: int, goal: Goal
) -> Standing:
    """The standing of the round that a label belongs to, right after this label."""
    known = gold_ranks(connection)
    size = max(1, min(goal.items, len(known)))
    labels = [label for label in _labels(connection, annotator) if label.item_id in known]
    upto = [label for label in labels if label.event_id <= event_id]
    number = max(1, -(-len(upto) // size))
    return _standing_of_round(number, upto[(number - 1) * size :], known, size, goal)
