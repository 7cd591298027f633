"""Claims of the queue: who holds which item, and whose label counts.

A claim takes a place of an item, and its id is a fencing token. A submission under an answered
claim is rejected. A submission after the place was given to another annotator, or after a program
sent a label of the same annotator, is stored as a `late` event and does not count.
"""

import random
import time

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import claim_queries, queries
from rlhf.labels.claim_queries import ClaimRow
from rlhf.labels.database import new_id
from rlhf.labels.leases import Leases
from rlhf.labels.records import LABEL
from rlhf.labels.schema import EXPIRED, LIVE, claims, items
from rlhf.labels.selection import Choice
from rlhf.labels.validation import content_sha256


class StaleClaimError(DataError):
    """A request for a claim that has ended or belongs to another annotator."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="bad-label")


def new_claim(
    connection: sa.Connection, annotator: str, choice: Choice, *, seed: int, leases: Leases
) -> int:
    """The id of a claim of the chosen item; an expired one of the annotator is revived.

    seed: of the order in which the responses are shown.
    """
    row = connection.execute(sa.select(items).where(items.c.id == choice.item_id)).one()
    item = queries.item_of(row._mapping)
    if choice.purpose == LABEL:
        queries.add_taken(connection, item.id, 1)
        expired = claim_queries.expired(connection, annotator, item.id)
        if expired is not None:  # so that a page that still shows it works too
            update = sa.update(claims).where(claims.c.id == expired)
            connection.execute(update.values(state=LIVE, probability=choice.probability))
            leases.renew(expired)
            return expired
    shuffle = random.Random(f"{seed} {content_sha256(item)} {annotator} {choice.purpose}")
    count = len(item.responses)
    claim_id = new_id(
        connection,
        sa.insert(claims).values(
            item_id=item.id,
            annotator=annotator,
            purpose=choice.purpose,
            state=LIVE,
            order_shown=shuffle.sample(range(count), count),
            probability=choice.probability,
            at=time.time(),
        ),
    )
    leases.renew(claim_id)
    return claim_id


def expire(connection: sa.Connection, leases: Leases) -> None:
    """Free the places of claims whose lease has run out.

    The leases are kept: if the transaction fails, these claims are still live, without a new lease.
    """
    live = sa.select(claims.c.id, claims.c.item_id, claims.c.purpose)
    for row in connection.execute(live.where(claims.c.state == LIVE)).all():
        if leases.expired(row.id):
            update = sa.update(claims).where(claims.c.id == row.id)
            connection.execute(update.values(state=EXPIRED))
            if row.purpose == LABEL:
                queries.add_taken(connection, row.item_id, -1)


def open_claim(connection: sa.Connection, annotator: str, claim_id: int) -> ClaimRow:
    """The annotator's claim, if it was not answered yet.

    Raises:
        StaleClaimError: it was, or it belongs to another annotator.
    """
    row = claim_queries.own(connection, annotator, claim_id)
    if row is None or row.state not in (LIVE, EXPIRED):
        raise StaleClaimError(
            "this item was submitted before, perhaps in another window; label the next one."
        )
    return row


def has_place(connection: sa.Connection, row: ClaimRow, overlap: int, leases: Leases) -> bool:
    """Whether a submission counts; an expired claim takes the place if it is still free.

    It does not count if a file brought a label of its annotator while the page showed the item.
    """
    if row.purpose != LABEL:
        return True
    if row.state != LIVE:
        return take_place(connection, row, overlap, leases)
    if claim_queries.has_label(connection, row.annotator, row.item_id):
        queries.add_taken(connection, row.item_id, -1)
        return False
    return True


def take_place(connection: sa.Connection, row: ClaimRow, overlap: int, leases: Leases) -> bool:
    """Take a place of the claim's item; False if all are taken, or its annotator has one."""
    expire(connection, leases)
    free = sa.select(items.c.id).where(items.c.id == row.item_id)
    if connection.scalar(free.where(queries.is_free(overlap))) is None:
        return False
    if claim_queries.has_label(connection, row.annotator, row.item_id):
        return False
    queries.add_taken(connection, row.item_id, 1)
    return True
