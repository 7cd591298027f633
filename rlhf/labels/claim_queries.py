"""What the queue reads and writes in the tables: claims, drafts and the events that answer them."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.records import LABEL, Claim
from rlhf.labels.schema import (
    DONE,
    EXPIRED,
    LATE,
    LIVE,
    OPEN,
    SEEN,
    SKIP,
    SUBMIT,
    UNDO,
    claims,
    drafts,
    events,
    items,
)

PACE_OF = 20  # labels that the pace is the median of


def own(connection: sa.Connection, annotator: str, claim_id: int) -> sa.Row[Any] | None:
    """The claim, where it is this annotator's."""
    query = sa.select(claims).where(claims.c.id == claim_id, claims.c.annotator == annotator)
    return connection.execute(query).first()


def held(connection: sa.Connection, annotator: str, overlap: int) -> int | None:
    """The claim that the annotator works on: their newest that lives, or an expired one with a
    draft whose place nobody took, which lives again."""
    mine = sa.select(claims.c.id).where(claims.c.annotator == annotator).limit(1)
    living = mine.where(claims.c.state == LIVE).order_by(claims.c.id.desc())
    found = connection.scalar(living)
    if found is not None:
        return int(found)
    left = (
        sa.select(claims.c.id, claims.c.item_id, claims.c.purpose)
        .join(drafts, drafts.c.claim_id == claims.c.id)
        .join(items, items.c.id == claims.c.item_id)
        .where(claims.c.annotator == annotator, claims.c.state == EXPIRED)
        .where(sa.or_(claims.c.purpose != LABEL, items.c.taken < overlap))
        .order_by(claims.c.id.desc())
    )
    row = connection.execute(left).first()
    if row is None:
        return None
    connection.execute(sa.update(claims).where(claims.c.id == row.id).values(state=LIVE))
    if row.purpose == LABEL:
        queries.add_taken(connection, row.item_id, 1)
    return int(row.id)


def expired(connection: sa.Connection, annotator: str, item_id: int) -> int | None:
    """The annotator's claim of an item that ran out before they said anything, if there is one."""
    query = sa.select(claims.c.id).where(
        claims.c.annotator == annotator,
        claims.c.item_id == item_id,
        claims.c.purpose == LABEL,
        claims.c.state == EXPIRED,
    )
    return connection.scalar(query.order_by(claims.c.id.desc()).limit(1))


def has_label(connection: sa.Connection, annotator: str, item_id: int) -> bool:
    """Whether a label of theirs stands on the item."""
    query = (
        sa.select(events.c.id)
        .join(claims, claims.c.id == events.c.claim_id)
        .where(claims.c.annotator == annotator, claims.c.item_id == item_id)
        .where(claims.c.state == DONE, claims.c.purpose == LABEL, events.c.kind == SUBMIT)
    )
    return connection.scalar(query.limit(1)) is not None


def read(connection: sa.Connection, claim_id: int) -> Claim:
    """The claim with its item and its draft."""
    query = (
        sa.select(items, claims.c.annotator, claims.c.purpose, claims.c.order_shown)
        .add_columns(claims.c.probability, drafts.c.payload)
        .select_from(claims.join(items, items.c.id == claims.c.item_id))
        .outerjoin(drafts, drafts.c.claim_id == claims.c.id)
        .where(claims.c.id == claim_id)
    )
    row = connection.execute(query).one()
    return Claim(
        id=claim_id,
        annotator=row.annotator,
        item=queries.item_of(row),
        purpose=row.purpose,
        order_shown=tuple(row.order_shown),
        probability=row.probability,
        draft=row.payload,
    )


def copy_of(row: sa.Row[Any], state: str) -> sa.Insert:
    """The same hold on the same item under a new number."""
    kept = {key: value for key, value in row._mapping.items() if key != "id"}
    return sa.insert(claims).values(**{**kept, "state": state})


def set_state(connection: sa.Connection, claim_id: int, state: str) -> None:
    """End a claim; its draft is no longer one."""
    connection.execute(sa.update(claims).where(claims.c.id == claim_id).values(state=state))
    connection.execute(sa.delete(drafts).where(drafts.c.claim_id == claim_id))


def put_draft(connection: sa.Connection, claim_id: int, payload: Mapping[str, Any]) -> None:
    """Replace the claim's draft."""
    connection.execute(sa.delete(drafts).where(drafts.c.claim_id == claim_id))
    connection.execute(sa.insert(drafts).values(claim_id=claim_id, payload=dict(payload)))


def draft_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The form as it was when it was sent; of a skip, an empty one."""
    form = payload.get("extra", {}).get("form")
    return dict(form) if isinstance(form, Mapping) else {}


def kind_of_request(connection: sa.Connection, key: str, claim_id: int) -> str | None:
    """What the request made of this claim when it came before, if it did."""
    query = sa.select(events.c.kind).where(
        events.c.request_key == key, events.c.claim_id == claim_id
    )
    return connection.scalar(query)


def last_said(connection: sa.Connection, annotator: str) -> sa.Row[Any] | None:
    """The annotator's last label or skip that stands and came through the queue."""
    undo = events.alias("undo")
    query = (
        sa.select(events)
        .outerjoin(undo, sa.and_(undo.c.undoes == events.c.id, undo.c.kind == UNDO))
        .where(events.c.annotator == annotator, events.c.kind.in_((SUBMIT, SKIP, LATE)))
        .where(undo.c.id.is_(None), events.c.claim_id.is_not(None))
        .order_by(events.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).first()


def last_seconds(connection: sa.Connection, annotator: str) -> Sequence[float]:
    """Seconds of their newest labels, where they were measured."""
    query = (
        sa.select(events.c.payload)
        .where(events.c.annotator == annotator, events.c.kind == SUBMIT)
        .order_by(events.c.id.desc())
        .limit(PACE_OF)
    )
    said = [payload.get("seconds") for payload in connection.scalars(query)]
    return [seconds for seconds in said if seconds is not None]


def counts(connection: sa.Connection, annotator: str, overlap: int) -> tuple[int, int]:
    """(labels they gave, items open to them, the one in hand included)."""
    mine = sa.select(sa.func.count()).select_from(claims).where(claims.c.annotator == annotator)
    done = connection.scalar(mine.where(claims.c.state == DONE)) or 0
    free = sa.and_(items.c.queue == OPEN, items.c.taken < overlap)
    every = connection.scalar(sa.select(sa.func.count()).select_from(items).where(free)) or 0
    seen = (
        sa.select(sa.func.count(claims.c.item_id.distinct()))
        .select_from(claims.join(items, items.c.id == claims.c.item_id))
        .where(claims.c.annotator == annotator, claims.c.state.in_(SEEN), free)
    )
    in_hand = connection.scalar(mine.where(claims.c.state == LIVE)) or 0
    return done, max(0, every - (connection.scalar(seen) or 0)) + in_hand
