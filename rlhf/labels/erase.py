"""The right to be forgotten: the one exception to the append-only log."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.records import LABEL
from rlhf.labels.schema import (
    ERASED,
    LIVE,
    claims,
    drafts,
    events,
    people,
    questions,
    sessions,
    tombstones,
)


@dataclass(frozen=True)
class Erased:
    """Rows of an annotator that were deleted."""

    rows: int  # of all tables
    events: int


def erase_annotator(connection: sa.Connection, annotator: str) -> Erased:
    """Delete an annotator's rows, free the places they held, and leave a tombstone."""
    labels = [one for one in queries.standing_labels(connection) if one.annotator == annotator]
    query = sa.select(claims.c.id, claims.c.item_id, claims.c.purpose, claims.c.state)
    held = connection.execute(query.where(claims.c.annotator == annotator)).all()
    freed = [label.item_id for label in labels if label.purpose == LABEL]
    freed += [row.item_id for row in held if row.state == LIVE and row.purpose == LABEL]
    for item_id in freed:
        queries.add_taken(connection, item_id, -1)
    own_claims = sa.select(claims.c.id).where(claims.c.annotator == annotator)
    # Rows that refer to another row are deleted before it.
    rows = connection.execute(sa.delete(drafts).where(drafts.c.claim_id.in_(own_claims))).rowcount
    own_events = sa.delete(events).where(events.c.annotator == annotator)
    num_events = connection.execute(own_events).rowcount
    for table in (claims, sessions, questions):
        deletion = sa.delete(table).where(table.c.annotator == annotator)
        rows += connection.execute(deletion).rowcount
    rows += connection.execute(sa.delete(people).where(people.c.name == annotator)).rowcount
    rows += _forget_decisions(connection, annotator)
    if rows + num_events:
        insert = sa.insert(tombstones).values(at=time.time(), events=num_events, labels=len(labels))
        connection.execute(insert)
    return Erased(rows + num_events, num_events)


def _forget_decisions(connection: sa.Connection, name: str) -> int:
    """Replace the name of whoever decided about an item or a label; returns the number of events.

    The decisions themselves stay: the state of items and the labels of others depend on them.
    """
    has_decider = sa.cast(events.c.payload, sa.String).contains('"by"')
    changed = 0
    query = sa.select(events.c.id, events.c.payload).where(has_decider)
    for row in connection.execute(query).all():
        payload = _without_decider(row.payload, name)
        if payload != row.payload:
            update = sa.update(events).where(events.c.id == row.id)
            connection.execute(update.values(payload=payload))
            changed += 1
    return changed


def _without_decider(payload: Mapping[str, object], name: str) -> dict[str, object]:
    """The payload with ERASED for the name in its fields `by`, at any depth."""
    return {
        key: ERASED
        if key == "by" and value == name
        else _without_decider(value, name)
        if isinstance(value, Mapping)
        else value
        for key, value in payload.items()
    }
