"""Queries of the queue: claims, drafts and their events."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.records import LABEL, Claim
from rlhf.labels.schema import (
    DONE,
    EXPIRED,
    LATE,
    LIVE,
    SEEN,
    SKIP,
    SUBMIT,
    claims,
    drafts,
    events,
    items,
)

SECONDS = "seconds"  # key of the time in a payload
PACE_LABELS = 20  # the pace is the median over this many labels


@dataclass(frozen=True, kw_only=True)
class ClaimRow:
    """A row of the table `claims`."""

    id: int
    item_id: int
    annotator: str
    purpose: str
    state: str
    order_shown: list[int]
    probability: float | None
    at: float


@dataclass(frozen=True, kw_only=True)
class LastEvent:
    """The last label or skip of an annotator."""

    id: int
    kind: str
    claim_id: int
    payload: Mapping[str, object]


def own(connection: sa.Connection, annotator: str, claim_id: int) -> ClaimRow | None:
    """The claim; None if it belongs to another annotator or does not exist."""
    query = sa.select(claims).where(claims.c.id == claim_id, claims.c.annotator == annotator)
    row = connection.execute(query).first()
    return None if row is None else ClaimRow(**row._asdict())


def held(connection: sa.Connection, annotator: str, overlap: int) -> int | None:
    """The id of the claim that the annotator works on.

    That is their newest live claim, or an expired one with a draft, a free place and no label by
    REST, which is live again then.
    """
    own_claims = sa.select(claims.c.id).where(claims.c.annotator == annotator).limit(1)
    live = own_claims.where(claims.c.state == LIVE).order_by(claims.c.id.desc())
    claim_id = connection.scalar(live)
    if claim_id is not None:
        return int(claim_id)
    is_unseen = sa.and_(queries.is_free(overlap), items.c.id.not_in(seen_items(annotator)))
    with_draft = (
        sa.select(claims.c.id, claims.c.item_id, claims.c.purpose)
        .join(drafts, drafts.c.claim_id == claims.c.id)
        .join(items, items.c.id == claims.c.item_id)
        .where(claims.c.annotator == annotator, claims.c.state == EXPIRED)
        .where(sa.or_(claims.c.purpose != LABEL, is_unseen))
        .order_by(claims.c.id.desc())
    )
    row = connection.execute(with_draft).first()
    if row is None:
        return None
    connection.execute(sa.update(claims).where(claims.c.id == row.id).values(state=LIVE))
    if row.purpose == LABEL:
        queries.add_taken(connection, row.item_id, 1)
    return int(row.id)


def expired(connection: sa.Connection, annotator: str, item_id: int) -> int | None:
    """The annotator's expired claim of an item, if there is one."""
    query = sa.select(claims.c.id).where(
        claims.c.annotator == annotator,
        claims.c.item_id == item_id,
        claims.c.purpose == LABEL,
        claims.c.state == EXPIRED,
    )
    return connection.scalar(query.order_by(claims.c.id.desc()).limit(1))


def has_label(connection: sa.Connection, annotator: str, item_id: int) -> bool:
    """Whether a label of the annotator, not undone, takes a place of the item.

    It may have come from the page, by REST or with a file.
    """
    standing = queries.standing_labels(connection, item_id=item_id)
    return any(one.annotator == annotator and one.purpose == LABEL for one in standing)


def seen_items(annotator: str) -> sa.CompoundSelect[tuple[int]]:
    """The ids of the items that the annotator has labelled, skipped or holds.

    A label on the page has a claim; one by REST or from a file has none, nor has a label of a
    store of version 1, which names no purpose either.
    """
    claimed = sa.select(claims.c.item_id).where(
        claims.c.annotator == annotator, claims.c.state.in_(SEEN)
    )
    sent = sa.select(events.c.item_id).where(
        events.c.annotator == annotator,
        events.c.kind == SUBMIT,
        events.c.claim_id.is_(None),
        sa.func.coalesce(events.c.payload["purpose"].as_string(), LABEL) == LABEL,
    )
    return sa.union_all(claimed, queries.without_undone(sent))


def is_holding(connection: sa.Connection, annotator: str, item_id: int) -> bool:
    """Whether a live claim of the annotator takes a place of the item."""
    query = sa.select(claims.c.id).where(
        claims.c.annotator == annotator,
        claims.c.item_id == item_id,
        claims.c.purpose == LABEL,
        claims.c.state == LIVE,
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
    draft = None if row.payload is None else dict(row.payload)
    seconds = seconds_of(draft or {})
    if draft is not None:
        draft.pop(SECONDS, None)
    return Claim(
        id=claim_id,
        annotator=row.annotator,
        item=queries.item_of(row._mapping),
        purpose=row.purpose,
        order_shown=tuple(row.order_shown),
        probability=row.probability,
        draft=draft,
        seconds=seconds,
    )


def copy_of(row: ClaimRow, state: str) -> sa.Insert:
    """The statement that copies a claim under a new id."""
    values = {key: value for key, value in asdict(row).items() if key != "id"}
    return sa.insert(claims).values(**{**values, "state": state})


def set_state(connection: sa.Connection, claim_id: int, state: str) -> None:
    """End a claim and delete its draft."""
    connection.execute(sa.update(claims).where(claims.c.id == claim_id).values(state=state))
    connection.execute(sa.delete(drafts).where(drafts.c.claim_id == claim_id))


def put_draft(
    connection: sa.Connection,
    claim_id: int,
    form: Mapping[str, object],
    seconds: float | None,
) -> None:
    """Replace the claim's draft: a form, and the seconds of work on the item so far."""
    payload = dict(form) if seconds is None else {**form, SECONDS: seconds}
    connection.execute(sa.delete(drafts).where(drafts.c.claim_id == claim_id))
    connection.execute(sa.insert(drafts).values(claim_id=claim_id, payload=payload))


def put_seconds(connection: sa.Connection, claim_id: int, seconds: float) -> None:
    """Set the seconds of work in the claim's draft, unless it has more; its form stays."""
    query = sa.select(drafts.c.payload).where(drafts.c.claim_id == claim_id)
    draft = connection.scalar(query) or {}
    put_draft(connection, claim_id, draft, max(seconds, seconds_of(draft) or 0.0))


def draft_of(payload: Mapping[str, object]) -> dict[str, object]:
    """The form of a label's or a skip's payload."""
    extra = payload.get("extra")
    form = extra.get("form") if isinstance(extra, Mapping) else payload.get("form")
    return dict(form) if isinstance(form, Mapping) else {}


def seconds_of(payload: Mapping[str, object]) -> float | None:
    """The seconds of work in the payload of a label, a skip or a draft, if they were measured."""
    seconds = payload.get(SECONDS)
    return float(seconds) if isinstance(seconds, int | float) else None


def kind_of_request(connection: sa.Connection, key: str, claim_id: int) -> str | None:
    """The kind of event that an earlier request with this key made of the claim, if any."""
    query = sa.select(events.c.kind).where(
        events.c.request_key == key, events.c.claim_id == claim_id
    )
    return connection.scalar(query)


def last_event(connection: sa.Connection, annotator: str) -> LastEvent | None:
    """The annotator's last label or skip from the queue that was not undone."""
    query = (
        sa.select(events.c.id, events.c.kind, events.c.claim_id, events.c.payload)
        .where(events.c.annotator == annotator, events.c.kind.in_((SUBMIT, SKIP, LATE)))
        .where(events.c.claim_id.is_not(None))
        .order_by(events.c.id.desc())
        .limit(1)
    )
    row = connection.execute(queries.without_undone(query)).first()
    return None if row is None else LastEvent(**row._asdict())


def last_seconds(connection: sa.Connection, annotator: str) -> Sequence[float]:
    """Measured seconds of the annotator's newest labels."""
    query = (
        sa.select(events.c.payload[SECONDS].as_float())
        .where(events.c.annotator == annotator, events.c.kind == SUBMIT)
        .order_by(events.c.id.desc())
        .limit(PACE_LABELS)
    )
    return [seconds for seconds in connection.scalars(query) if seconds is not None]


def counts(
    connection: sa.Connection, annotator: str, free: sa.ColumnElement[bool]
) -> tuple[int, int]:
    """(labels of the annotator, items open to them including the one that they hold).

    free: the items with a free place that suit them.
    """
    free_items = sa.select(sa.func.count()).select_from(items).where(free)
    seen = free_items.where(items.c.id.in_(seen_items(annotator)))
    in_state = [sa.func.count(sa.case((claims.c.state == state, 1))) for state in (DONE, LIVE)]
    # One query: the server asks after each label.
    query = sa.select(*in_state, free_items.scalar_subquery(), seen.scalar_subquery())
    row = connection.execute(query.where(claims.c.annotator == annotator)).one()
    done, live, num_free, num_seen = (int(count) for count in row)
    return done, max(0, num_free - num_seen) + live
