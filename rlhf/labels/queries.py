"""What the label store reads: rows of its tables -> records."""

from typing import Any

import sqlalchemy as sa

from rlhf.labels.records import Item, Label, StoredLabel
from rlhf.labels.schema import SUBMIT, UNDO, events, items

VARIABLES = 500  # SQLite limits how many a statement may have


def items_of(connection: sa.Connection) -> list[Item]:
    """Every item, oldest first."""
    rows = connection.execute(sa.select(items).order_by(items.c.id))
    return [item_of(row) for row in rows]


def item_of(row: sa.Row[Any]) -> Item:
    """The item that a row of `items` holds."""
    return Item(
        id=row.id,
        prompt=row.prompt,
        responses=tuple(row.responses),
        models=tuple(row.models),
        columns=row._mapping["columns"],
    )


def item_ids_by_content(connection: sa.Connection) -> dict[str, int]:
    """content_sha256 -> item id."""
    rows = connection.execute(sa.select(items.c.content_sha256, items.c.id))
    return {row.content_sha256: row.id for row in rows}


def item_sizes(connection: sa.Connection, item_ids: set[int]) -> dict[int, int]:
    """Number of answers of each of these items that is there."""
    wanted = sorted(item_ids)
    sizes: dict[int, int] = {}
    for start in range(0, len(wanted), VARIABLES):
        some = items.c.id.in_(wanted[start : start + VARIABLES])
        rows = connection.execute(sa.select(items.c.id, items.c.responses).where(some))
        sizes |= {row.id: len(row.responses) for row in rows}
    return sizes


def standing_labels(connection: sa.Connection) -> list[StoredLabel]:
    """Submitted and not undone, oldest first."""
    undo = events.alias("undo")
    query = (
        sa.select(events)
        .outerjoin(undo, sa.and_(undo.c.undoes == events.c.id, undo.c.kind == UNDO))
        .where(events.c.kind == SUBMIT, undo.c.id.is_(None))
        .order_by(events.c.id)
    )
    return [
        StoredLabel(
            event_id=row.id, at=row.at, item_id=row.item_id, annotator=row.annotator, **row.payload
        )
        for row in connection.execute(query)
    ]


def standing_counts(connection: sa.Connection) -> dict[str, int]:
    """Kind -> number of events that no undo takes back."""
    undo = events.alias("undo")
    query = (
        sa.select(events.c.kind, sa.func.count())
        .outerjoin(undo, sa.and_(undo.c.undoes == events.c.id, undo.c.kind == UNDO))
        .where(undo.c.id.is_(None))
        .group_by(events.c.kind)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def add_taken(connection: sa.Connection, item_id: int, change: int) -> None:
    """Count places of an item as taken (1) or free again (-1)."""
    update = sa.update(items).where(items.c.id == item_id)
    connection.execute(update.values(taken=items.c.taken + change))


def event_of_request(connection: sa.Connection, request_key: str | None) -> int | None:
    """The event that this request made when it came before, if it did."""
    if request_key is None:
        return None
    return connection.scalar(sa.select(events.c.id).where(events.c.request_key == request_key))


def payload_of(label: Label) -> dict[str, Any]:
    """What was said, apart from who said it of which item."""
    return {
        "ranks": list(label.ranks),
        "order_shown": list(label.order_shown),
        "seconds": label.seconds,
        "guideline_version": label.guideline_version,
        "strength": label.strength,
        "purpose": label.purpose,
        "probability": label.probability,
        "extra": dict(label.extra),
    }
