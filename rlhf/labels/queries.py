"""Queries of the label store: rows of its tables -> records."""

from collections.abc import Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.database import new_id
from rlhf.labels.records import MEASURING, Candidate, Item, Label, StoredLabel
from rlhf.labels.schema import (
    EXCLUDED,
    LIVE,
    OPEN,
    SUBMIT,
    UNDO,
    claims,
    events,
    gold,
    items,
    meta,
)
from rlhf.labels.validation import content_sha256

VARIABLES = 500  # SQLite limits the number of variables in a statement
EXCLUDED_LABELS = "labels of excluded items"  # a reason for which labels do not count
Query = TypeVar("Query", bound=sa.Select[Any])


def items_of(connection: sa.Connection, queue: str | None = None) -> list[Item]:
    """Every item, or those in one state of the queue; oldest first."""
    query = sa.select(items).order_by(items.c.id)
    if queue is not None:
        query = query.where(items.c.queue == queue)
    return [item_of(row) for row in connection.execute(query).mappings()]


def item_of(row: sa.RowMapping) -> Item:
    """The item in a row of the table `items`."""
    return Item(
        id=row["id"],
        prompt=row["prompt"],
        responses=tuple(row["responses"]),
        models=tuple(row["models"]),
        columns=row["columns"],
    )


def ensure_item(connection: sa.Connection, candidate: Candidate, content: str, queue: str) -> int:
    """The id of the item with this content, which is added if there is none."""
    known = item_id_of(connection, content)
    return add_item(connection, candidate, content, queue) if known is None else known


def ensure_items(
    connection: sa.Connection, candidates: Sequence[Candidate], queue: str
) -> list[int]:
    """The ids of the items with these contents; the missing ones are added."""
    known = item_ids_by_content(connection)
    for candidate in candidates:
        content = content_sha256(candidate)
        if content not in known:
            known[content] = add_item(connection, candidate, content, queue)
    return [known[content_sha256(candidate)] for candidate in candidates]


def add_item(connection: sa.Connection, candidate: Candidate, content: str, queue: str) -> int:
    """The id of a new item with this content hash, in the state `queue`."""
    insert = sa.insert(items).values(
        content_sha256=content,
        prompt=candidate.prompt,
        responses=list(candidate.responses),
        models=list(candidate.models),
        columns=dict(candidate.columns),
        queue=queue,
    )
    return new_id(connection, insert)


def queue_of(connection: sa.Connection, item_id: int) -> str:
    """The item's role in the queue.

    Raises:
        DataError: no such item.
    """
    queue = connection.scalar(sa.select(items.c.queue).where(items.c.id == item_id))
    if queue is None:
        raise DataError(f"item {item_id} is not in the store.", code="unknown-name")
    return str(queue)


def item_ids_by_content(connection: sa.Connection) -> dict[str, int]:
    """content_sha256 -> item id."""
    rows = connection.execute(sa.select(items.c.content_sha256, items.c.id))
    return {row.content_sha256: row.id for row in rows}


def item_id_of(connection: sa.Connection, content: str) -> int | None:
    """The id of the item with this content hash, if there is one."""
    return connection.scalar(sa.select(items.c.id).where(items.c.content_sha256 == content))


def item_sizes(connection: sa.Connection, item_ids: set[int]) -> dict[int, int]:
    """Number of responses of each of these items; unknown ids are left out."""
    wanted = sorted(item_ids)
    sizes: dict[int, int] = {}
    for start in range(0, len(wanted), VARIABLES):
        chunk = items.c.id.in_(wanted[start : start + VARIABLES])
        rows = connection.execute(sa.select(items.c.id, items.c.responses).where(chunk))
        sizes |= {row.id: len(row.responses) for row in rows}
    return sizes


def without_undone(query: Query) -> Query:
    """The query of the table `events`, without the events that were undone."""
    undo = events.alias("undo")
    pairs = sa.and_(undo.c.undoes == events.c.id, undo.c.kind == UNDO)
    return query.outerjoin(undo, pairs).where(undo.c.id.is_(None))


def standing_labels(
    connection: sa.Connection,
    *,
    item_id: int | None = None,
    after: int = 0,
    limit: int | None = None,
    counting: bool = False,
) -> list[StoredLabel]:
    """Labels that were submitted and not undone, of one item or of all, oldest first.

    Args:
        connection: to read from.
        item_id: of one item only.
        after: id of an event; only later labels are read.
        limit: the most labels to read.
        counting: leave out labels that do not count: those of excluded items, and those of gold
            items that measure nobody.
    """
    labels = sa.select(events).where(events.c.kind == SUBMIT, events.c.id > after)
    query = without_undone(labels).order_by(events.c.id).limit(limit)
    if item_id is not None:
        query = query.where(events.c.item_id == item_id)
    if counting:
        query = query.where(events.c.item_id.not_in(_excluded()), sa.not_(_is_idle()))
    return [stored_label(row) for row in connection.execute(query)]


def stored_label(row: sa.Row[Any]) -> StoredLabel:
    """The label in a `submit` row of the table `events`."""
    return StoredLabel(
        event_id=row.id, at=row.at, item_id=row.item_id, annotator=row.annotator, **row.payload
    )


def count_uncounted_labels(connection: sa.Connection) -> dict[str, int]:
    """Reason -> number of labels, not undone, that do not count for it; without zeros."""
    count = sa.select(sa.func.count()).select_from(events)
    query = without_undone(count).where(events.c.kind == SUBMIT)
    is_excluded = events.c.item_id.in_(_excluded())
    counts = {
        EXCLUDED_LABELS: connection.scalar(query.where(is_excluded)),
        "labels from before their item became a gold item": connection.scalar(
            query.where(sa.not_(is_excluded), _is_idle())
        ),
    }
    return {reason: int(count) for reason, count in counts.items() if count}


def _excluded() -> sa.Select[tuple[int]]:
    return sa.select(items.c.id).where(items.c.queue == EXCLUDED)


def _is_idle() -> sa.ColumnElement[bool]:
    """A label of a gold item that does not measure its annotator."""
    purpose = sa.func.coalesce(events.c.payload["purpose"].as_string(), "")
    of_gold = events.c.item_id.in_(sa.select(gold.c.item_id))
    return sa.and_(of_gold, purpose.not_in(MEASURING))


def is_free(overlap: int) -> sa.ColumnElement[bool]:
    """An item that takes another label."""
    return sa.and_(items.c.queue == OPEN, items.c.taken < overlap + items.c.extra)


def identity(label: Label) -> tuple[int, str, tuple[int, ...], str]:
    """What makes two labels the same one: item, annotator, ranks and purpose."""
    return (label.item_id, label.annotator, tuple(label.ranks), label.purpose)


def has_label(connection: sa.Connection, label: Label) -> bool:
    """Whether the same label was submitted before and not undone."""
    standing = standing_labels(connection, item_id=label.item_id)
    return identity(label) in {identity(one) for one in standing}


def standing_counts(connection: sa.Connection) -> dict[str, int]:
    """Kind -> number of events that were not undone."""
    query = without_undone(sa.select(events.c.kind, sa.func.count())).group_by(events.c.kind)
    return {row[0]: row[1] for row in connection.execute(query)}


def count_live_claims(connection: sa.Connection) -> int:
    """Number of items that annotators hold."""
    query = sa.select(sa.func.count()).select_from(claims).where(claims.c.state == LIVE)
    return int(connection.scalar(query) or 0)


def setting(connection: sa.Connection, name: str, default: str) -> str:
    """The value of a setting, or the default."""
    value = connection.scalar(sa.select(meta.c.value).where(meta.c.name == name))
    return default if value is None else str(value)


def set_setting(connection: sa.Connection, name: str, value: str) -> None:
    """Store a setting."""
    connection.execute(sa.delete(meta).where(meta.c.name == name))
    connection.execute(sa.insert(meta).values(name=name, value=value))


def add_taken(connection: sa.Connection, item_id: int, change: int) -> None:
    """Count a place of an item as taken (1) or free again (-1)."""
    update = sa.update(items).where(items.c.id == item_id)
    connection.execute(update.values(taken=items.c.taken + change))


def add_places(connection: sa.Connection, item_id: int, count: int) -> None:
    """Let so many more annotators label an item."""
    update = sa.update(items).where(items.c.id == item_id)
    connection.execute(update.values(extra=items.c.extra + count))


def event_of_request(connection: sa.Connection, request_key: str | None) -> int | None:
    """The event of an earlier request with the same key, if there is one."""
    if request_key is None:
        return None
    return connection.scalar(sa.select(events.c.id).where(events.c.request_key == request_key))


def payload_of(label: Label) -> dict[str, object]:
    """The label without its annotator and item, as the event log stores it."""
    return {
        "ranks": list(label.ranks),
        "order_shown": list(label.order_shown),
        "seconds": label.seconds,
        "guideline_version": label.guideline_version,
        "form_version": label.form_version,
        "strength": label.strength,
        "purpose": label.purpose,
        "probability": label.probability,
        "extra": dict(label.extra),
    }
