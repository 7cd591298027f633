"""Pages of items, labels and events, and counts by annotator, for programs."""

from collections.abc import Mapping

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.records import Item, StoredLabel
from rlhf.labels.schema import ADMINISTRATOR, SKIP, SUBMIT, UNDO, claims, events, items


def items_after(connection: sa.Connection, after: int, limit: int) -> list[Item]:
    """Items with higher ids, by id."""
    query = sa.select(items).where(items.c.id > after).order_by(items.c.id).limit(limit)
    return [queries.item_of(row) for row in connection.execute(query).mappings()]


def labels_after(connection: sa.Connection, after: int, limit: int) -> list[StoredLabel]:
    """Standing labels whose events have higher ids, by event; without excluded items."""
    return queries.standing_labels(connection, after=after, limit=limit, counting=True)


def events_after(connection: sa.Connection, after: int, limit: int) -> list[dict[str, object]]:
    """Events with higher ids, by id, without the client's keys."""
    names = ("id", "kind", "item_id", "annotator", "at", "undoes", "payload")
    columns = [events.c[name] for name in names]
    query = sa.select(*columns).where(events.c.id > after).order_by(events.c.id).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def newest_event(connection: sa.Connection) -> int:
    """Id of the last event; 0 without one."""
    return int(connection.scalar(sa.select(sa.func.max(events.c.id))) or 0)


def active_since(connection: sa.Connection, since: float) -> set[str]:
    """Annotators who got an item, or did something with one, since a time."""
    return {
        name
        for table in (claims, events)
        for name in connection.scalars(sa.select(table.c.annotator).where(table.c.at >= since))
    }


def counts_by_annotator(connection: sa.Connection) -> list[Mapping[str, object]]:
    """Name, labels, skips and time of the last event of each annotator, by name."""
    undo = events.alias("undo")
    standing = undo.c.id.is_(None)

    def count(kind: str) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((sa.and_(events.c.kind == kind, standing), 1), else_=0))

    query = (
        sa.select(
            events.c.annotator.label("name"),
            count(SUBMIT).label("labels"),
            count(SKIP).label("skips"),
            sa.func.max(events.c.at).label("last_at"),
        )
        .outerjoin(undo, sa.and_(undo.c.undoes == events.c.id, undo.c.kind == UNDO))
        .where(events.c.annotator != ADMINISTRATOR)
        .group_by(events.c.annotator)
        .order_by(events.c.annotator)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def count_labelled_items(connection: sa.Connection) -> int:
    """Number of items with a standing label."""
    query = sa.select(sa.func.count(sa.distinct(events.c.item_id))).where(events.c.kind == SUBMIT)
    return int(connection.scalar(queries.without_undone(query)) or 0)
