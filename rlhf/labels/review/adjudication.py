"""Adjudication: a person decides contested items, first blind and then with the labels shown.

Both rankings are labels of purpose `adjudication`. The second one is the decision; it records the
first one and which labels were shown. It takes no place of the item, and agreement of annotators
does not count it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries, validation
from rlhf.labels.events import append_label, append_undo, logged_events
from rlhf.labels.people import person_of
from rlhf.labels.records import ADJUDICATION, LABEL, Item, Label, StoredLabel
from rlhf.labels.review.history import BLIND, FINAL, ItemHistory, add_event
from rlhf.labels.roles import ADJUDICATOR
from rlhf.labels.schema import OPEN, items
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore


@dataclass(frozen=True, kw_only=True)
class Task:
    """An item for an adjudicator."""

    item: Item
    order_shown: Sequence[int]
    blind: StoredLabel | None  # their ranking without the labels; None: still to come
    labels: Sequence[StoredLabel]  # of the annotators; empty until then
    left: int  # contested items, this one included


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """An adjudicator's ranking of an item."""

    item_id: int
    ranks: Sequence[int]  # K, in the item's order
    comment: str = ""
    seconds: float | None = None
    guideline_version: int = 0


def contested_items(
    store: LabelStore, histories: Mapping[int, ItemHistory], config: QueueConfig
) -> list[int]:
    """Ids of the items to decide, oldest first.

    These are the items with all their labels whose disagreement is above the threshold, and those
    that the administrator sent, without those that are decided.
    """
    query = sa.select(items.c.id, items.c.extra).where(items.c.queue == OPEN)
    with store.read() as connection:
        places = {row.id: config.overlap + row.extra for row in connection.execute(query)}
    return sorted(
        item_id
        for item_id, history in histories.items()
        if item_id in places
        and (history.is_contested or _is_disputed(history, places[item_id], config.disagreement))
    )


def _is_disputed(history: ItemHistory, places: int, threshold: float) -> bool:
    """Whether an item with all its labels, not decided yet, has more disagreement than allowed."""
    labels = sum(label.purpose == LABEL for label in history.standing)
    is_waiting = labels >= places and history.decision is None
    return is_waiting and (history.disagreement or 0.0) > threshold


def next_task(
    store: LabelStore, histories: Mapping[int, ItemHistory], name: str, config: QueueConfig
) -> Task | None:
    """The adjudicator's next item; None if there is none.

    First one that they have ranked blind; never one that they labelled as an annotator. Two
    adjudicators get the items in different orders.
    """
    ids = [
        item_id
        for item_id in contested_items(store, histories, config)
        if all(one.annotator != name for one in histories[item_id].standing if one.purpose == LABEL)
    ]
    if not ids:
        return None
    rng = random.Random(f"{config.seed} {name} adjudication")
    keys = {item_id: rng.random() for item_id in ids}
    item_id = min(ids, key=lambda one: (blind_of(histories[one], name) is None, keys[one]))
    with store.read() as connection:
        row = connection.execute(sa.select(items).where(items.c.id == item_id)).one()
    item = queries.item_of(row._mapping)
    blind = blind_of(histories[item_id], name)
    labels = [one for one in histories[item_id].standing if one.purpose == LABEL]
    return Task(
        item=item,
        order_shown=order_shown(item, name, config.seed),
        blind=blind,
        labels=labels if blind is not None else [],
        left=len(ids),
    )


def order_shown(item: Item, name: str, seed: int) -> list[int]:
    """The order of the responses for this adjudicator."""
    content = validation.content_sha256(item)
    count = len(item.responses)
    return random.Random(f"{seed} {content} {name} {ADJUDICATION}").sample(range(count), count)


def blind_of(history: ItemHistory, name: str) -> StoredLabel | None:
    """The adjudicator's ranking of the item before they saw the labels, if it waits for them."""
    waiting = [
        label
        for label in history.standing
        if label.annotator == name
        and label.purpose == ADJUDICATION
        and label.extra.get("stage") == BLIND
    ]
    return waiting[-1] if waiting else None


def rule(
    store: LabelStore, name: str, ruling: Ruling, config: QueueConfig, *, request_key: str
) -> str:
    """Store a ranking of the adjudicator; returns its stage, "blind" or "final".

    Raises:
        DataError: not an adjudicator, an item that was decided meanwhile, or ranks that do not fit.
    """
    key = f"{name} {request_key}"
    with store.write() as connection:
        check_adjudicator(connection, name)
        if queries.event_of_request(connection, key) is not None:
            return FINAL
        row = connection.execute(sa.select(items).where(items.c.id == ruling.item_id)).first()
        if row is None:
            raise DataError(f"item {ruling.item_id} is not in the store.", code="unknown-name")
        history = ItemHistory()
        for event in logged_events(connection, item_id=ruling.item_id):
            add_event(history, event)
        blind = blind_of(history, name)
        if history.decision is not None and not history.is_contested:
            raise DataError("this item was decided meanwhile; reload the page.", code="busy")
        order = order_shown(queries.item_of(row._mapping), name, config.seed)
        label = _label(name, ruling, order, blind, history.standing)
        validation.check_label(label, {ruling.item_id: len(row.responses)})
        if blind is not None:
            append_undo(connection, blind.event_id, request_key=f"{key} undo")
        append_label(connection, label, request_key=key)
        return BLIND if blind is None else FINAL


def check_adjudicator(connection: sa.Connection, name: str) -> None:
    """Raise DataError unless the person is an adjudicator."""
    if person_of(connection, name).role != ADJUDICATOR:
        raise DataError(f"{name} is not an adjudicator.", code="not-allowed")


def _label(
    name: str,
    ruling: Ruling,
    order: Sequence[int],
    blind: StoredLabel | None,
    standing: Sequence[StoredLabel],
) -> Label:
    extra: dict[str, object] = {"stage": BLIND if blind is None else FINAL}
    if ruling.comment.strip():
        extra["comment"] = ruling.comment.strip()
    if blind is not None:
        extra["blind_ranks"] = list(blind.ranks)
        extra["labels_shown"] = [one.event_id for one in standing if one.purpose == LABEL]
    return Label(
        item_id=ruling.item_id,
        annotator=name,
        ranks=list(ruling.ranks),
        order_shown=order,
        seconds=ruling.seconds,
        guideline_version=ruling.guideline_version,
        purpose=ADJUDICATION,
        extra=extra,
    )
