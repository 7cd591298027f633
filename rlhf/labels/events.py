"""The append-only event log: one event per click, never the same event twice."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.claim_queries import ClaimRow
from rlhf.labels.database import new_id
from rlhf.labels.gold_items import check_not_gold
from rlhf.labels.records import LABEL, Judgment, Label
from rlhf.labels.schema import SUBMIT, UNDO, events


@dataclass(frozen=True, kw_only=True)
class LoggedEvent:
    """An event of the log."""

    id: int
    kind: str
    item_id: int
    annotator: str
    at: float  # seconds since 1970
    undoes: int | None
    payload: Mapping[str, object]
    claim_id: int | None


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event before it is logged; the log adds its number and time."""

    kind: str
    item_id: int
    annotator: str
    request_key: str | None = None
    undoes: int | None = None
    payload: Mapping[str, object] = field(default_factory=dict)
    claim_id: int | None = None


def append(connection: sa.Connection, event: Event) -> int:
    """The event's id; a repeated request returns the id of its first event."""
    earlier = queries.event_of_request(connection, event.request_key)
    if earlier is not None:
        return earlier
    insert = sa.insert(events).values(
        kind=event.kind,
        item_id=event.item_id,
        annotator=event.annotator,
        at=time.time(),
        request_key=event.request_key,
        undoes=event.undoes,
        payload=dict(event.payload),
        claim_id=event.claim_id,
    )
    return new_id(connection, insert)


def logged_events(
    connection: sa.Connection, *, after: int = 0, item_id: int | None = None
) -> list[LoggedEvent]:
    """Every event with an id above `after`, of one item or of all, oldest first."""
    query = sa.select(events).where(events.c.id > after).order_by(events.c.id)
    if item_id is not None:
        query = query.where(events.c.item_id == item_id)
    return [
        LoggedEvent(
            id=row.id,
            kind=row.kind,
            item_id=row.item_id,
            annotator=row.annotator,
            at=row.at,
            undoes=row.undoes,
            payload=row.payload,
            claim_id=row.claim_id,
        )
        for row in connection.execute(query)
    ]


def append_label(connection: sa.Connection, label: Label, *, request_key: str | None) -> int:
    """The id of the label's event; an ordinary label takes a place of its item.

    Raises:
        DataError: an ordinary label of a gold item.
    """
    earlier = queries.event_of_request(connection, request_key)
    if earlier is not None:
        return earlier
    if label.purpose == LABEL:
        check_not_gold(connection, label.item_id)
        queries.add_taken(connection, label.item_id, 1)
    return append(
        connection,
        Event(
            kind=SUBMIT,
            item_id=label.item_id,
            annotator=label.annotator,
            request_key=request_key,
            payload=queries.payload_of(label),
        ),
    )


def append_undo(
    connection: sa.Connection,
    event_id: int,
    *,
    request_key: str | None,
    payload: Mapping[str, object] | None = None,
) -> int:
    """The id of the event that undoes the label `event_id`; frees the label's place.

    Args:
        connection: in a transaction.
        event_id: the label.
        request_key: the client's name of the request.
        payload: who undid it and why, if that was not its annotator.

    Raises:
        DataError: no such label, or it was undone before.
    """
    earlier = queries.event_of_request(connection, request_key)
    if earlier is not None:
        return earlier
    query = sa.select(events).where(events.c.id == event_id, events.c.kind == SUBMIT)
    label = connection.execute(query).first()
    undone = sa.select(events.c.id).where(events.c.undoes == event_id)
    if label is None or connection.scalar(undone) is not None:
        raise DataError(
            f"event {event_id} is not a label that can be undone; it does not exist or was undone "
            "before.",
            code="unknown-name",
        )
    if label.payload.get("purpose", LABEL) == LABEL:
        queries.add_taken(connection, label.item_id, -1)
    return append(
        connection,
        Event(
            kind=UNDO,
            item_id=label.item_id,
            annotator=label.annotator,
            request_key=request_key,
            undoes=event_id,
            payload=payload or {},
        ),
    )


def label_of_claim(row: ClaimRow, judgment: Judgment) -> Label:
    """The label that an annotator gave under a claim."""
    return Label(
        item_id=row.item_id,
        annotator=row.annotator,
        ranks=judgment.ranks,
        order_shown=row.order_shown,
        seconds=judgment.seconds,
        guideline_version=judgment.guideline_version,
        form_version=judgment.form_version,
        strength=judgment.strength,
        purpose=row.purpose,
        probability=row.probability,
        extra=judgment.extra,
    )


def claim_event(
    kind: str, row: ClaimRow, payload: Mapping[str, object], key: str, undoes: int | None = None
) -> Event:
    """An event of a claim's annotator and item."""
    return Event(
        kind=kind,
        item_id=row.item_id,
        annotator=row.annotator,
        request_key=key,
        undoes=undoes,
        payload=payload,
        claim_id=row.id,
    )
