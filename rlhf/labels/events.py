"""The append-only log: one event a click, and no event twice."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.database import new_id
from rlhf.labels.records import LABEL, Label
from rlhf.labels.schema import SUBMIT, events


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened; the log adds the number and the time."""

    kind: str
    item_id: int
    annotator: str
    request_key: str | None = None
    undoes: int | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    claim_id: int | None = None


def append(connection: sa.Connection, event: Event) -> int:
    """The event's id; a request that came before gives the id that it made then."""
    again = queries.event_of_request(connection, event.request_key)
    if again is not None:
        return again
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


def append_label(connection: sa.Connection, label: Label, *, request_key: str | None) -> int:
    """The id of the label's event; an ordinary label takes a place of its item."""
    again = queries.event_of_request(connection, request_key)
    if again is not None:
        return again
    if label.purpose == LABEL:
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
