"""The choice of the next item for an annotator."""

import random
from dataclasses import dataclass

import sqlalchemy as sa

from rlhf.errors import ConfigError
from rlhf.labels import claim_queries, qualification
from rlhf.labels.people import Person, num_labels, suitable_tags
from rlhf.labels.queries import is_free
from rlhf.labels.records import GOLD_CHECK, LABEL, QUALIFY, REPEAT
from rlhf.labels.roles import ANNOTATOR
from rlhf.labels.schema import DONE, GOLD, SKIPPED, claims, items


@dataclass(frozen=True, kw_only=True)
class QueueConfig:
    """How items are handed out."""

    overlap: int = 1  # annotators per item
    seed: int = 0  # of the order in which responses are shown, and of every draw
    gold_rate: float = 0.0  # share of gold items mixed in; annotators cannot tell them apart
    repeat_rate: float = 0.0  # share of items that the annotator has ranked before
    repeat_gap: int = 10  # claims between an item and its repeat, at least
    active_floor: float | None = None  # None: by priority; otherwise the share drawn at random
    lease_seconds: float = 900.0
    max_overlap: int | None = None  # annotators per item where they disagree; None: `overlap`
    disagreement: float = 0.4  # above this, an item gets a further annotator, or is adjudicated
    qualification: int = 0  # gold items with feedback before a new annotator's first item
    pass_mark: float = 0.8  # share of their pairs to decide correctly
    pre_label_share: float | None = None  # of labels after which a reward model's ranks are shown
    tries: int = 2  # rounds of qualification before an annotator has failed

    def __post_init__(self) -> None:
        if self.overlap < 1:
            raise ConfigError(
                f"overlap={self.overlap} is below 1; use 1 to label each item once.",
                code="bad-value",
            )
        for name in (
            *("gold_rate", "repeat_rate", "active_floor"),
            *("disagreement", "pass_mark", "pre_label_share"),
        ):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"{name}={share} is not between 0 and 1.", code="bad-value")
        if self.max_overlap is not None and self.max_overlap < self.overlap:
            raise ConfigError(
                f"max_overlap={self.max_overlap} is below overlap={self.overlap}; give a higher "
                "one, or leave it out.",
                code="key-conflict",
            )
        if self.qualification < 0 or self.tries < 1:
            raise ConfigError(
                f"qualification={self.qualification} and tries={self.tries}: use 0 items or more, "
                "and 1 try or more.",
                code="bad-value",
            )
        if not self.lease_seconds > 0:
            raise ConfigError(
                f"lease_minutes={self.lease_seconds / 60:g} is not above 0; pages send a heartbeat "
                "once a minute, so use 2 or more.",
                code="bad-value",
            )
        if self.gold_rate + self.repeat_rate > 0.9:
            raise ConfigError(
                "gold_rate and repeat_rate add up to more than 0.9 and leave too few items to "
                "label; lower them.",
                code="key-conflict",
            )


@dataclass(frozen=True)
class Choice:
    """An item to show, its purpose, and the probability of its draw (None: order decided)."""

    item_id: int
    purpose: str
    probability: float | None = None


def choose(connection: sa.Connection, person: Person, config: QueueConfig) -> Choice | None:
    """The next item of an annotator who holds none; None if nothing is left for them.

    The draw depends on the seed, the annotator and the number of their claims, so that an
    annotator cannot tell gold items and repeats by counting.
    """
    annotator = person.name
    if obstacle(connection, person, config):
        return None
    goal = goal_of(config)
    if goal is not None and not qualification.standing(connection, annotator, goal).passed:
        item_id = qualification.next_item(connection, annotator, goal, config.seed)
        return None if item_id is None else Choice(item_id, QUALIFY)
    is_drawn = config.gold_rate or config.repeat_rate or config.active_floor is not None
    if not is_drawn:
        return _first(connection, is_open(connection, person, config.overlap))
    num_claims = connection.scalar(
        sa.select(sa.func.count()).select_from(claims).where(claims.c.annotator == annotator)
    )
    rng = random.Random(f"{config.seed} {annotator} {num_claims}")
    kind = rng.random()
    choice = None
    if kind < config.gold_rate:
        choice = _gold(connection, annotator, rng)
    elif kind < config.gold_rate + config.repeat_rate:
        choice = _repeat(connection, annotator, config.repeat_gap, rng)
    if choice is not None:
        return choice
    if config.active_floor is None:
        return _first(connection, is_open(connection, person, config.overlap))
    return _drawn(connection, is_open(connection, person, config.overlap), config, rng)


def obstacle(connection: sa.Connection, person: Person, config: QueueConfig) -> str:
    """Why a person gets no item: "paused", "cap", "failed", "role"; "" if they may get one."""
    if person.role != ANNOTATOR:
        return "role"
    if person.cap is not None and num_labels(connection, person.name) >= person.cap:
        return "cap"
    # Before a pause, which ends: a participant who failed gets no completion code during one.
    if _has_failed(connection, person, config):
        return "failed"
    return "paused" if person.paused or person.halted else ""


def _has_failed(connection: sa.Connection, person: Person, config: QueueConfig) -> bool:
    """Whether the person has failed the last round of the qualification."""
    goal = goal_of(config)
    return goal is not None and qualification.standing(connection, person.name, goal).failed


def done_and_left(
    connection: sa.Connection, person: Person, config: QueueConfig
) -> tuple[int, int]:
    """(labels of the person, items that are left for them, including the one that they hold).

    At most as many are left as the cap allows, and none after a failed qualification. A pause does
    not change the number.
    """
    free = is_suitable(connection, person, config.overlap)
    done, left = claim_queries.counts(connection, person.name, free)
    if _has_failed(connection, person, config):
        return done, 0
    if person.cap is not None:
        left = min(left, max(0, person.cap - num_labels(connection, person.name)))
    return done, left


def goal_of(config: QueueConfig) -> qualification.Goal | None:
    """The goal of the qualification round; None without one."""
    if not config.qualification:
        return None
    return qualification.Goal(config.qualification, config.pass_mark, config.tries)


def is_suitable(connection: sa.Connection, person: Person, overlap: int) -> sa.ColumnElement[bool]:
    """An item with a free place, whose tags the person has."""
    tags = suitable_tags(connection, person)
    return is_free(overlap) if tags is None else sa.and_(is_free(overlap), tags)


def is_open(connection: sa.Connection, person: Person, overlap: int) -> sa.ColumnElement[bool]:
    """A suitable item that the person has not labelled or skipped, and does not hold."""
    seen = claim_queries.seen_items(person.name)
    return sa.and_(is_suitable(connection, person, overlap), items.c.id.not_in(seen))


# The order of the queue and of the index `ix_items_next`, which covers every column read here.
ORDER = (items.c.priority.desc(), items.c.id)
WEIGHT = sa.case((items.c.priority > 0, items.c.priority), else_=0.0)


def _first(connection: sa.Connection, is_candidate: sa.ColumnElement[bool]) -> Choice | None:
    """The highest priority, then the oldest."""
    query = sa.select(items.c.id).where(is_candidate)
    item_id = connection.scalar(query.order_by(*ORDER).limit(1))
    return None if item_id is None else Choice(item_id, LABEL)


def _drawn(
    connection: sa.Connection,
    is_candidate: sa.ColumnElement[bool],
    config: QueueConfig,
    rng: random.Random,
) -> Choice | None:
    """P(item) = floor / n + (1 - floor) * priority / sum of priorities, over the n open items.

    With a floor above 0 every item has a known probability above 0, so that labels can be
    weighted back to all items. The database adds up the priorities: fetching 10,000 rows for each
    draw would take longer than everything else.
    """
    count, total = connection.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(WEIGHT), 0.0)).where(is_candidate)
    ).one()
    if not count:
        return None
    floor = config.active_floor if total else 1.0
    assert floor is not None  # without a floor, order decides
    candidates = sa.select(items.c.id, WEIGHT.label("weight")).where(is_candidate)
    row = None
    if rng.random() >= floor:
        upto = sa.func.sum(WEIGHT).over(order_by=ORDER).label("upto")
        sums = candidates.add_columns(upto).subquery()
        reached = sa.select(sums.c.id, sums.c.weight).where(sums.c.upto > rng.random() * total)
        row = connection.execute(reached.order_by(sums.c.upto).limit(1)).first()
    if row is None:  # a uniform draw, or rounding put the sum below its last part
        uniform = candidates.order_by(*ORDER).offset(rng.randrange(count)).limit(1)
        row = connection.execute(uniform).one()
    share = row.weight / total if total else 0.0
    return Choice(row.id, LABEL, floor / count + (1 - floor) * share)


def _gold(connection: sa.Connection, annotator: str, rng: random.Random) -> Choice | None:
    claimed = sa.select(claims.c.item_id).where(claims.c.annotator == annotator)
    query = sa.select(items.c.id).where(items.c.queue == GOLD, items.c.id.not_in(claimed))
    ids = connection.scalars(query.order_by(items.c.id)).all()
    return Choice(rng.choice(ids), GOLD_CHECK) if ids else None


def _repeat(
    connection: sa.Connection, annotator: str, gap: int, rng: random.Random
) -> Choice | None:
    """An item that the annotator ranked once, at least `gap` claims ago."""
    query = sa.select(claims.c.item_id, claims.c.purpose, claims.c.state).where(
        claims.c.annotator == annotator
    )
    rows = connection.execute(query.order_by(claims.c.id)).all()
    old = {
        row.item_id
        for row in rows[: max(0, len(rows) - gap)]
        if row.purpose == LABEL and row.state == DONE
    }
    repeated = {row.item_id for row in rows if row.purpose == REPEAT and row.state != SKIPPED}
    ids = sorted(old - repeated)
    return Choice(rng.choice(ids), REPEAT) if ids else None
