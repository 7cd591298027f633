"""What an annotator has done, for themselves: labels, skips and working time by day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.claim_queries import seconds_of
from rlhf.labels.review.browse import EXCERPT, prompt_text
from rlhf.labels.review.progress import Work, day_of
from rlhf.labels.schema import SKIP, SUBMIT, events, items
from rlhf.labels.store import LabelStore

NEWEST = 20  # items that are listed


@dataclass(frozen=True, kw_only=True)
class OwnItem:
    """A label or a skip of the annotator."""

    at: float  # seconds since 1970
    kind: str  # `submit` or `skip`
    prompt: str  # its beginning
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class OwnWork:
    """The work of one annotator, without what was undone."""

    by_day: Mapping[str, Work]  # ISO date -> work, the newest first
    newest: Sequence[OwnItem]  # the newest first


def own_work(store: LabelStore, annotator: str) -> OwnWork:
    """The annotator's labels and skips."""
    query = (
        sa.select(events.c.at, events.c.kind, events.c.item_id, events.c.payload)
        .where(events.c.annotator == annotator, events.c.kind.in_((SUBMIT, SKIP)))
        .order_by(events.c.id.desc())
    )
    with store.read() as connection:
        rows = connection.execute(queries.without_undone(query)).all()
        wanted = {row.item_id for row in rows[:NEWEST]}
        found = connection.execute(sa.select(items).where(items.c.id.in_(wanted))).mappings()
        prompts = {row["id"]: prompt_text(queries.item_of(row))[:EXCERPT] for row in found}
    by_day: dict[str, Work] = {}
    for row in rows:
        seconds = seconds_of(row.payload) or 0.0
        more = Work(labels=int(row.kind == SUBMIT), skips=int(row.kind == SKIP), seconds=seconds)
        by_day[day_of(row.at)] = by_day.get(day_of(row.at), Work()).plus(more)
    newest = [
        OwnItem(
            at=row.at,
            kind=row.kind,
            prompt=prompts[row.item_id],
            seconds=seconds_of(row.payload),
        )
        for row in rows[:NEWEST]
    ]
    return OwnWork(by_day=by_day, newest=newest)
