"""Erasure of a person and of what is old: the one exception to the append-only log."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.records import LABEL, StoredLabel, normalized_name
from rlhf.labels.schema import (
    ERASED,
    LIVE,
    OPEN,
    RESERVED,
    RETIRED,
    audit,
    claims,
    drafts,
    events,
    items,
    metadata,
    people,
    questions,
    sessions,
    tombstones,
)
from rlhf.labels.store import LabelStore

# In this order: rows that refer to another row are deleted before it, and claims after the events
# that tell which of them are still needed.
TABLES = (events, drafts, claims, questions, sessions, audit, people)
NOT_COUNTED = ("meta",)  # settings, tokens of programs


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What was removed and what stays, in rows by table; the new tombstone is not counted."""

    removed: Mapping[str, int]
    renamed: Mapping[str, int]  # rows in which "(erased)" replaced the name
    left: Mapping[str, int]
    labels: int  # removed labels that had not been undone
    places: int  # places of items that are free again
    retired: int = 0  # items that are no longer handed out

    @property
    def is_empty(self) -> bool:
        """Whether nothing was removed or changed."""
        return not any([*self.removed.values(), *self.renamed.values()])


def erase_person(store: LabelStore, name: str, *, dry_run: bool = False) -> Erasure:
    """Delete every row of a person; returns what was removed and what stays.

    A record with counts and without the name remains, and so does what the person decided
    about others' labels, without the name.

    Args:
        store: the labels.
        name: of an annotator or of another person.
        dry_run: only count.

    Raises:
        DataError: the store has no row of this person.
    """
    if name in RESERVED:
        raise DataError(f"{name!r} is no person.", code="unknown-name")
    with store.write() as connection:
        erasure = _erase_rows_of(connection, normalized_name(name))
        if dry_run:
            connection.rollback()
    if erasure.is_empty:
        raise DataError(
            f"the store has no rows of {name!r}; `rlhf label people` lists those who have "
            "access, and `rlhf label stats` those who have labelled.",
            code="unknown-name",
        )
    return erasure


def erase_older(store: LabelStore, days: float, *, dry_run: bool = False) -> Erasure:
    """Delete what people did more than `days` ago, labels included; returns the counts.

    Items, guidelines, and people with access stay. Items of the deleted labels are retired:
    the queue does not hand them out again.

    Args:
        store: the labels.
        days: above 0.
        dry_run: only count.

    Raises:
        DataError: `days` is not above 0.
    """
    if not days > 0:
        raise DataError(f"days={days:g}; keep more than 0 days.", code="bad-value")
    with store.write() as connection:
        erasure = _erase_before(connection, time.time() - 86_400 * days)
        if dry_run:
            connection.rollback()
    return erasure


def _erase_rows_of(connection: sa.Connection, name: str) -> Erasure:
    """Delete a person's rows, free the places they held, and leave a tombstone.

    What the person decided about items and labels of others stays without their name: the state of
    these items depends on it. Texts that others wrote are not searched.
    """
    labels = [one for one in queries.standing_labels(connection) if one.annotator == name]
    own_claims = sa.select(claims.c.id).where(claims.c.annotator == name)
    held = sa.select(claims.c.item_id).where(
        claims.c.annotator == name, claims.c.state == LIVE, claims.c.purpose == LABEL
    )
    conditions = {
        events: events.c.annotator == name,
        drafts: drafts.c.claim_id.in_(own_claims),
        claims: claims.c.annotator == name,
        questions: questions.c.annotator == name,
        sessions: sessions.c.annotator == name,
        audit: audit.c.who == name,
        people: people.c.name == name,
    }
    renamed = {
        "events": _rename(connection, events.c.payload, events.c.annotator != name, name, "by"),
        "audit": _rename(connection, audit.c.details, audit.c.who != name, name, None),
    }
    return _remove(connection, conditions, labels, connection.scalars(held).all(), renamed)


def _erase_before(connection: sa.Connection, before: float) -> Erasure:
    """Delete what people did before a time, in seconds since 1970, and leave a tombstone.

    The undo of an older label goes with it, and a claim goes with the last event of its annotator
    and item. Items that are held, people with access or with newer rows, items and guidelines stay.
    An item that loses a label is retired: nobody knows any more who has seen it, and its campaign
    is over.
    """
    labels = [one for one in queries.standing_labels(connection) if one.at < before]
    older = events.alias("older")
    undoes_older = events.c.undoes.in_(sa.select(older.c.id).where(older.c.at < before))
    # Of the same item, not only of the claim: a corrected label has none, and takes a place.
    has_event = sa.exists().where(
        events.c.item_id == claims.c.item_id, events.c.annotator == claims.c.annotator
    )
    ended = sa.and_(claims.c.at < before, claims.c.state != LIVE, ~has_event)
    is_needed = sa.or_(
        sa.exists().where(claims.c.annotator == people.c.name),
        sa.exists().where(events.c.annotator == people.c.name),
        sa.exists().where(questions.c.annotator == people.c.name),
    )
    conditions = {
        events: sa.or_(events.c.at < before, undoes_older),
        drafts: drafts.c.claim_id.in_(sa.select(claims.c.id).where(ended)),
        claims: ended,
        questions: questions.c.at < before,
        sessions: sessions.c.expires_at < time.time(),
        audit: audit.c.at < before,
        people: sa.and_(people.c.invite_sha256.is_(None), people.c.at < before, ~is_needed),
    }
    retired = _retire(connection, {one.item_id for one in labels if one.purpose == LABEL})
    erasure = _remove(connection, conditions, labels, [], {})
    return replace(erasure, places=0, retired=retired)


def _retire(connection: sa.Connection, item_ids: Collection[int]) -> int:
    """Take open items out of the queue; returns their number."""
    ids = sorted(item_ids)
    return sum(
        connection.execute(
            sa.update(items)
            .where(items.c.id.in_(ids[start : start + queries.VARIABLES]), items.c.queue == OPEN)
            .values(queue=RETIRED)
        ).rowcount
        for start in range(0, len(ids), queries.VARIABLES)
    )


def _remove(
    connection: sa.Connection,
    conditions: Mapping[sa.Table, sa.ColumnElement[bool]],
    labels: Sequence[StoredLabel],
    held: Sequence[int],
    renamed: Mapping[str, int],
) -> Erasure:
    """Delete the rows, and free the places of `labels` and of the `held` items."""
    freed = [label.item_id for label in labels if label.purpose == LABEL] + list(held)
    for item_id in freed:
        queries.add_taken(connection, item_id, -1)
    removed = {
        table.name: connection.execute(sa.delete(table).where(conditions[table])).rowcount
        for table in TABLES
    }
    left = {
        table.name: int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
        for table in metadata.sorted_tables
        if table.name not in NOT_COUNTED
    }
    if any([*removed.values(), *renamed.values()]):
        row = {"at": time.time(), "events": removed["events"], "labels": len(labels)}
        connection.execute(sa.insert(tombstones).values(**row))
    return Erasure(
        removed=removed, renamed=renamed, left=left, labels=len(labels), places=len(freed)
    )


def _rename(
    connection: sa.Connection,
    column: sa.Column[Any],
    rows: sa.ColumnElement[bool],
    name: str,
    only: str | None,
) -> int:
    """Write ERASED for the name in a JSON column of some rows; returns the number changed."""
    table, changed = column.table, 0
    for row_id, value in connection.execute(sa.select(table.c.id, column).where(rows)).all():
        new = without_name(value, name, only=only)
        if new != value:
            connection.execute(sa.update(table).where(table.c.id == row_id).values({column: new}))
            changed += 1
    return changed


def without_name(value: object, name: str, *, only: str | None, key: str = "") -> object:
    """The value with ERASED for every text that is the name.

    Args:
        value: JSON.
        name: in Unicode's composed form.
        only: the only field whose texts are replaced; None for all.
        key: the field of `value`.
    """
    if isinstance(value, Mapping):
        return {one: without_name(part, name, only=only, key=one) for one, part in value.items()}
    if isinstance(value, list):
        return [without_name(part, name, only=only, key=key) for part in value]
    is_name = isinstance(value, str) and normalized_name(value) == name
    return ERASED if is_name and only in (None, key) else value
