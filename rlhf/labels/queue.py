"""The queue that annotators work from: claims, drafts, labels, skips, undo.

A claim takes a place of an item, and its id is a fencing token: what comes in under a claim that
was answered is refused, and what comes in after the place was given to somebody else is kept as
a `late` event and counts for nothing. Every request that writes carries the client's own key;
the same key again gives the same answer and writes nothing.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import claim_queries, queries
from rlhf.labels.claim_queries import set_state
from rlhf.labels.database import new_id
from rlhf.labels.events import Event, append
from rlhf.labels.leases import Leases
from rlhf.labels.records import LABEL, REPEAT, Claim, Label
from rlhf.labels.schema import (
    DONE,
    EXPIRED,
    LATE,
    LIVE,
    OPEN,
    SKIP,
    SKIPPED,
    SUBMIT,
    UNDO,
    UNDONE,
    claims,
    items,
)
from rlhf.labels.selection import Choice, QueueConfig, choose
from rlhf.labels.store import LabelStore
from rlhf.labels.validation import check_label, content_sha256


class FencedError(DataError):
    """What was sent belongs to a claim that has ended; ask for the next item."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an annotator says of the item they hold."""

    ranks: list[int]  # K, in the order of item.responses
    seconds: float | None
    strength: float = 1.0
    guideline_version: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where an annotator stands."""

    done: int
    left: int  # ordinary items that are open to them, the one they hold included
    seconds: float | None  # median of their last labels


class Queue:
    """Hands out the items of a store. One process has one; the store's lock orders its calls."""

    def __init__(
        self, store: LabelStore, config: QueueConfig, leases: Leases | None = None
    ) -> None:
        self.store = store
        self.config = config
        self.leases = leases or Leases(config.lease_seconds)

    def next(self, annotator: str) -> Claim | None:
        """The item that the annotator holds, or else a new one; None where nothing is left."""
        with self.store.write() as connection:
            return self._next(connection, annotator)

    def claim_item(self, annotator: str, item_id: int) -> Claim:
        """Hold one item, whatever the queue's order; what they hold already waits. One that they
        have a label on comes as a repeat: nobody has two labels on an item."""
        with self.store.write() as connection:
            again = claim_queries.has_label(connection, annotator, item_id)
            choice = Choice(item_id, REPEAT if again else LABEL)
            held = self._claim(connection, annotator, choice)
            return claim_queries.read(connection, held)

    def heartbeat(self, annotator: str, claim_id: int) -> bool:
        """Whether the claim lives, for another lease from now."""
        with self.store.read() as connection:
            row = claim_queries.own(connection, annotator, claim_id)
        if row is None or row.state != LIVE:
            return False
        self.leases.renew(claim_id)
        return True

    def save_draft(self, annotator: str, claim_id: int, payload: Mapping[str, Any]) -> bool:
        """Keep what is not submitted yet; False where the claim has ended."""
        with self.store.write() as connection:
            row = claim_queries.own(connection, annotator, claim_id)
            if row is None or row.state not in (LIVE, EXPIRED):
                return False
            claim_queries.put_draft(connection, claim_id, payload)
        self.leases.renew(claim_id)
        return True

    def order_shown(self, annotator: str, claim_id: int) -> Sequence[int]:
        """Order in which the claim's answers were shown.

        Raises:
            FencedError: no such claim of this annotator.
        """
        with self.store.read() as connection:
            row = claim_queries.own(connection, annotator, claim_id)
        if row is None:
            raise FencedError("this item is not yours; go on with the next.")
        return tuple(row.order_shown)

    def submit(
        self, annotator: str, claim_id: int, answer: Answer, *, request_key: str
    ) -> tuple[str, Claim | None]:
        """What became of it (`submit`, or `late` where the place was somebody else's by then),
        and the next item: both in one transaction, for the disk is what takes the time.

        Raises:
            FencedError: the claim was answered before, or is not the annotator's.
            DataError: ranks that do not fit the item.
        """
        key = f"{annotator} {request_key}"
        with self.store.write() as connection:
            kind = claim_queries.kind_of_request(connection, key, claim_id)
            if kind is None:
                kind = self._submit(connection, annotator, claim_id, answer, key)
            following = self._next(connection, annotator)
        self.leases.drop(claim_id)
        return kind, following

    def skip(
        self, annotator: str, claim_id: int, reason: Mapping[str, Any], *, request_key: str
    ) -> Claim | None:
        """Pass on the item and say why; its place is free for somebody else. The next item.

        Raises:
            FencedError: as `submit` does.
        """
        key = f"{annotator} {request_key}"
        with self.store.write() as connection:
            if claim_queries.kind_of_request(connection, key, claim_id) is None:
                self._skip(connection, annotator, claim_id, reason, key)
            following = self._next(connection, annotator)
        self.leases.drop(claim_id)
        return following

    def undo(self, annotator: str, *, request_key: str) -> Claim | None:
        """Take the annotator's last label or skip back and hold its item again, filled in as it
        was; None where nothing is left to take back."""
        key = f"{annotator} {request_key}"
        with self.store.write() as connection:
            if queries.event_of_request(connection, key) is not None:
                held = claim_queries.held(connection, annotator, self.config.overlap)
                return None if held is None else claim_queries.read(connection, held)
            last = claim_queries.last_said(connection, annotator)
            if last is None:
                return None
            old = claim_queries.own(connection, annotator, last.claim_id)
            assert old is not None  # an event's claim is never deleted before the event
            append(connection, _event(UNDO, old, {}, key, undoes=last.id))
            set_state(connection, old.id, UNDONE)
            # A label holds its place; that of a skip, or of a late label, may be somebody else's.
            kept = last.kind == SUBMIT or old.purpose != LABEL
            lives = kept or self._take_place(connection, old.item_id)
            held = new_id(connection, claim_queries.copy_of(old, LIVE if lives else EXPIRED))
            claim_queries.put_draft(connection, held, claim_queries.draft_of(last.payload))
            self.leases.renew(held)
            return claim_queries.read(connection, held)

    def progress(self, annotator: str) -> Progress:
        """How many they have done, how many are open to them, and how fast they are."""
        with self.store.read() as connection:
            done, left = claim_queries.counts(connection, annotator, self.config.overlap)
            seconds = sorted(claim_queries.last_seconds(connection, annotator))
        return Progress(
            done=done, left=left, seconds=seconds[len(seconds) // 2] if seconds else None
        )

    def _next(self, connection: sa.Connection, annotator: str) -> Claim | None:
        held = claim_queries.held(connection, annotator, self.config.overlap)
        if held is None:
            self._expire(connection)
            choice = choose(connection, annotator, self.config)
            if choice is None:
                return None
            held = self._claim(connection, annotator, choice)
        self.leases.renew(held)
        return claim_queries.read(connection, held)

    def _submit(
        self, connection: sa.Connection, annotator: str, claim_id: int, answer: Answer, key: str
    ) -> str:
        row = self._open_claim(connection, annotator, claim_id)
        label = _label(row, answer)
        check_label(label, queries.item_sizes(connection, {row.item_id}))
        kind = SUBMIT if self._has_place(connection, row) else LATE
        append(connection, _event(kind, row, queries.payload_of(label), key))
        set_state(connection, claim_id, DONE)
        return kind

    def _skip(
        self,
        connection: sa.Connection,
        annotator: str,
        claim_id: int,
        reason: Mapping[str, Any],
        key: str,
    ) -> None:
        row = self._open_claim(connection, annotator, claim_id)
        if row.state == LIVE and row.purpose == LABEL:
            queries.add_taken(connection, row.item_id, -1)
        append(connection, _event(SKIP, row, reason, key))
        set_state(connection, claim_id, SKIPPED)

    def _claim(self, connection: sa.Connection, annotator: str, choice: Choice) -> int:
        row = connection.execute(sa.select(items).where(items.c.id == choice.item_id)).one()
        item = queries.item_of(row)
        seed = f"{self.config.seed} {content_sha256(item)} {annotator} {choice.purpose}"
        count = len(item.responses)
        if choice.purpose == LABEL:
            queries.add_taken(connection, item.id, 1)
            old = claim_queries.expired(connection, annotator, item.id)
            if old is not None:  # they come back to it; a page that still shows it counts as well
                update = sa.update(claims).where(claims.c.id == old)
                connection.execute(update.values(state=LIVE, probability=choice.probability))
                self.leases.renew(old)
                return old
        claim_id = new_id(
            connection,
            sa.insert(claims).values(
                item_id=item.id,
                annotator=annotator,
                purpose=choice.purpose,
                state=LIVE,
                order_shown=random.Random(seed).sample(range(count), count),
                probability=choice.probability,
                at=time.time(),
            ),
        )
        self.leases.renew(claim_id)
        return claim_id

    def _expire(self, connection: sa.Connection) -> None:
        """Free the places of claims that nobody has shown a sign of life for."""
        living = sa.select(claims.c.id, claims.c.item_id, claims.c.purpose)
        for row in connection.execute(living.where(claims.c.state == LIVE)).all():
            if self.leases.expired(row.id):
                update = sa.update(claims).where(claims.c.id == row.id)
                connection.execute(update.values(state=EXPIRED))
                if row.purpose == LABEL:
                    queries.add_taken(connection, row.item_id, -1)
                self.leases.drop(row.id)

    def _open_claim(self, connection: sa.Connection, annotator: str, claim_id: int) -> sa.Row[Any]:
        row = claim_queries.own(connection, annotator, claim_id)
        if row is None or row.state not in (LIVE, EXPIRED):
            raise FencedError(
                "this item was answered before, perhaps in another window; go on with the next."
            )
        return row

    def _has_place(self, connection: sa.Connection, row: sa.Row[Any]) -> bool:
        """Whether the claim still counts; one that expired takes a place that is free yet."""
        if row.state == LIVE or row.purpose != LABEL:
            return True
        return self._take_place(connection, row.item_id)

    def _take_place(self, connection: sa.Connection, item_id: int) -> bool:
        """Whether the item had a free place, which is taken now."""
        item = connection.execute(sa.select(items).where(items.c.id == item_id)).one()
        if item.queue != OPEN or item.taken >= self.config.overlap:
            return False
        queries.add_taken(connection, item_id, 1)
        return True


def _label(row: sa.Row[Any], answer: Answer) -> Label:
    return Label(
        item_id=row.item_id,
        annotator=row.annotator,
        ranks=answer.ranks,
        order_shown=row.order_shown,
        seconds=answer.seconds,
        guideline_version=answer.guideline_version,
        strength=answer.strength,
        purpose=row.purpose,
        probability=row.probability,
        extra=answer.extra,
    )


def _event(
    kind: str, row: sa.Row[Any], payload: Mapping[str, Any], key: str, undoes: int | None = None
) -> Event:
    return Event(
        kind=kind,
        item_id=row.item_id,
        annotator=row.annotator,
        request_key=key,
        undoes=undoes,
        payload=payload,
        claim_id=row.id,
    )
