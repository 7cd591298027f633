"""The right to be forgotten: the one exception to the append-only log."""

import time
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.records import LABEL
from rlhf.labels.schema import (
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
    if rows + num_events:
        insert = sa.insert(tombstones).values(at=time.time(), events=num_events, labels=len(labels))
        connection.execute(insert)
    return Erased(rows + num_events, num_events)
