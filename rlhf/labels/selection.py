"""Which item an annotator is shown next."""

import random
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rlhf.errors import ConfigError
from rlhf.labels.records import GOLD_CHECK, LABEL, REPEAT
from rlhf.labels.schema import DONE, GOLD, OPEN, SEEN, SKIPPED, claims, items


@dataclass(frozen=True, kw_only=True)
class QueueConfig:
    """How items are handed out."""

    overlap: int = 1  # annotators that label each item
    seed: int = 0  # of the order in which answers are shown, and of every draw
    gold_rate: float = 0.0  # share of items that are gold, mixed in silently
    repeat_rate: float = 0.0  # share of items that the annotator has ranked before
    repeat_gap: int = 10  # claims between an item and its repeat, at least
    active_floor: float | None = None  # None: by priority; else share drawn at random
    lease_seconds: float = 900.0

    def __post_init__(self) -> None:
        if self.overlap < 1:
            raise ConfigError(f"overlap={self.overlap} is below 1; 1 labels each item once.")
        for name in ("gold_rate", "repeat_rate", "active_floor"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"{name}={share} is no share; use 0 to 1.")
        if not self.lease_seconds > 0:
            raise ConfigError(
                f"a lease of {self.lease_seconds / 60:g} minutes ends before it begins; pages show "
                "a sign of life once a minute, so use 2 or more."
            )
        if self.gold_rate + self.repeat_rate > 0.9:
            raise ConfigError("gold_rate and repeat_rate leave nothing to label; lower them.")


@dataclass(frozen=True)
class Choice:
    """An item to show, why, and with which probability it was drawn (None: order decided)."""

    item_id: int
    purpose: str
    probability: float | None = None


def choose(connection: sa.Connection, annotator: str, config: QueueConfig) -> Choice | None:
    """The next item of an annotator who holds none; None where nothing is left.

    The draw is a function of the seed, the annotator and how many items they have had, so that
    gold and repeats come at places that cannot be told by counting.
    """
    had = connection.scalar(
        sa.select(sa.func.count()).select_from(claims).where(claims.c.annotator == annotator)
    )
    draw = random.Random(f"{config.seed} {annotator} {had}")
    kind = draw.random()
    found = None
    if kind < config.gold_rate:
        found = _gold(connection, annotator, draw)
    elif kind < config.gold_rate + config.repeat_rate:
        found = _repeat(connection, annotator, config.repeat_gap, draw)
    if found is not None:
        return found
    if config.active_floor is None:
        return _first(connection, annotator, config.overlap)
    return _drawn(connection, annotator, config, draw)


def is_open(annotator: str, overlap: int) -> sa.ColumnElement[bool]:
    """An item with a free place that the annotator neither answered nor holds."""
    mine = sa.select(claims.c.item_id).where(
        claims.c.annotator == annotator, claims.c.state.in_(SEEN)
    )
    return sa.and_(items.c.queue == OPEN, items.c.taken < overlap, items.c.id.not_in(mine))


# The order of the queue, and that of the index `ix_items_next`, which holds all that is read here.
ORDER = (items.c.priority.desc(), items.c.id)
WEIGHT = sa.case((items.c.priority > 0, items.c.priority), else_=0.0)


def _first(connection: sa.Connection, annotator: str, overlap: int) -> Choice | None:
    """The highest priority, then the oldest."""
    query = sa.select(items.c.id).where(is_open(annotator, overlap))
    item_id = connection.scalar(query.order_by(*ORDER).limit(1))
    return None if item_id is None else Choice(item_id, LABEL)


def _drawn(
    connection: sa.Connection, annotator: str, config: QueueConfig, draw: random.Random
) -> Choice | None:
    """P(item) = floor / n + (1 - floor) * priority / sum of priorities, over the n open items.

    Every item has a known chance above 0 where the floor is: what was labelled can be weighted
    back to what there was. The database adds the priorities up: 10,000 rows brought here for each
    draw would take longer than all else.
    """
    free = is_open(annotator, config.overlap)
    count, total = connection.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(WEIGHT), 0.0)).where(free)
    ).one()
    if not count:
        return None
    floor = config.active_floor if total else 1.0
    assert floor is not None  # without one, order decides
    every = sa.select(items.c.id, WEIGHT.label("weight")).where(free)
    row = None
    if draw.random() >= floor:
        upto = sa.func.sum(WEIGHT).over(order_by=ORDER).label("upto")
        sums = every.add_columns(upto).subquery()
        reached = sa.select(sums.c.id, sums.c.weight).where(sums.c.upto > draw.random() * total)
        row = connection.execute(reached.order_by(sums.c.upto).limit(1)).first()
    if row is None:  # an even draw, or a sum that was rounded below its last part
        evenly = every.order_by(*ORDER).offset(draw.randrange(count)).limit(1)
        row = connection.execute(evenly).one()
    share = row.weight / total if total else 0.0
    return Choice(row.id, LABEL, floor / count + (1 - floor) * share)


def _gold(connection: sa.Connection, annotator: str, draw: random.Random) -> Choice | None:
    mine = sa.select(claims.c.item_id).where(claims.c.annotator == annotator)
    query = sa.select(items.c.id).where(items.c.queue == GOLD, items.c.id.not_in(mine))
    ids = connection.scalars(query.order_by(items.c.id)).all()
    return Choice(draw.choice(ids), GOLD_CHECK) if ids else None


def _repeat(
    connection: sa.Connection, annotator: str, gap: int, draw: random.Random
) -> Choice | None:
    """An item that they ranked once, at least `gap` items ago."""
    mine = sa.select(claims.c.item_id, claims.c.purpose, claims.c.state).where(
        claims.c.annotator == annotator
    )
    rows = connection.execute(mine.order_by(claims.c.id)).all()
    old = [row.item_id for row in rows[: max(0, len(rows) - gap)] if _ranked(row)]
    again = {row.item_id for row in rows if row.purpose == REPEAT and row.state != SKIPPED}
    left = sorted(set(old) - again)
    return Choice(draw.choice(left), REPEAT) if left else None


def _ranked(row: Any) -> bool:
    return bool(row.purpose == LABEL and row.state == DONE)
