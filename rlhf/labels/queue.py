"""The queue that annotators work from: drafts, labels, skips, undo.

Every writing request carries a key of the client; a repeated key returns the same result and writes
nothing. `claiming.py` has the claims that order these requests.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from rlhf.labels import claim_queries, claiming, guidelines, queries
from rlhf.labels.adaptive import widen
from rlhf.labels.claim_queries import seconds_of, set_state
from rlhf.labels.claiming import StaleClaimError
from rlhf.labels.database import new_id
from rlhf.labels.events import append, claim_event, label_of_claim
from rlhf.labels.leases import Leases
from rlhf.labels.people import person_of
from rlhf.labels.pre_labels import with_pre_label
from rlhf.labels.records import LABEL, QUALIFY, REPEAT, AnnotatorProgress, Claim, Judgment
from rlhf.labels.roles import ANNOTATOR
from rlhf.labels.schema import DONE, EXPIRED, LATE, LIVE, SKIP, SKIPPED, SUBMIT, UNDO, UNDONE
from rlhf.labels.selection import Choice, QueueConfig, choose, done_and_left, obstacle
from rlhf.labels.store import LabelStore
from rlhf.labels.validation import check_label


class Queue:
    """Hands out the items of a store. One process has one; the store's lock orders its calls."""

    def __init__(
        self, store: LabelStore, config: QueueConfig, leases: Leases | None = None
    ) -> None:
        self.store = store
        self.config = config
        self.leases = leases or Leases(config.lease_seconds)

    def next(self, annotator: str) -> Claim | None:
        """The item that the annotator holds, or a new one; None if nothing is left."""
        with self.store.write() as connection:
            return self._next(connection, annotator)

    def claim_item(self, annotator: str, item_id: int) -> Claim:
        """A claim of one item, regardless of the queue's order; the annotator's other claim waits.

        An item that they have labelled comes as a repeat, so that they never have two labels on
        one item.
        """
        with self.store.write() as connection:
            is_repeat = claim_queries.has_label(connection, annotator, item_id)
            choice = Choice(item_id, REPEAT if is_repeat else LABEL)
            claim_id = claiming.new_claim(
                connection, annotator, choice, seed=self.config.seed, leases=self.leases
            )
            return claim_queries.read(connection, claim_id)

    def heartbeat(self, annotator: str, claim_id: int, *, seconds: float | None = None) -> bool:
        """Whether the claim is live; if so, it gets a full lease from now.

        seconds: time that the annotator has worked on the item, kept for when they come back.
        """
        with self.store.read() as connection:
            row = claim_queries.own(connection, annotator, claim_id)
        if row is None or row.state != LIVE:
            return False
        if seconds is not None:
            with self.store.write() as connection:
                claim_queries.put_seconds(connection, claim_id, seconds)
        self.leases.renew(claim_id)
        return True

    def save_draft(
        self,
        annotator: str,
        claim_id: int,
        form: Mapping[str, object],
        *,
        seconds: float | None = None,
    ) -> bool:
        """Save an unsubmitted form and the time spent on it; False if the claim has ended."""
        with self.store.write() as connection:
            row = claim_queries.own(connection, annotator, claim_id)
            if row is None or row.state not in (LIVE, EXPIRED):
                return False
            claim_queries.put_draft(connection, claim_id, form, seconds)
        self.leases.renew(claim_id)
        return True

    def order_shown(self, annotator: str, claim_id: int) -> Sequence[int]:
        """The order in which the claim's responses were shown.

        Raises:
            StaleClaimError: the annotator has no such claim.
        """
        with self.store.read() as connection:
            row = claim_queries.own(connection, annotator, claim_id)
        if row is None:
            raise StaleClaimError("this item belongs to another annotator; label the next one.")
        return tuple(row.order_shown)

    def responses(self, annotator: str, claim_id: int) -> Sequence[str]:
        """The claim's responses, in the stored order.

        Raises:
            StaleClaimError: the annotator has no such claim.
        """
        with self.store.read() as connection:
            if claim_queries.own(connection, annotator, claim_id) is not None:
                return claim_queries.read(connection, claim_id).item.responses
        raise StaleClaimError("this item belongs to another annotator; label the next one.")

    def submit(
        self, annotator: str, claim_id: int, judgment: Judgment, *, request_key: str
    ) -> tuple[str, Claim | None]:
        """(event kind, next item), in one transaction since the disk takes most of the time.

        The kind is `submit`, or `late` if the label does not count: the place was given to another
        annotator, or a program sent this annotator's label.

        Raises:
            StaleClaimError: the claim was answered before, or belongs to another annotator.
            DataError: ranks that do not fit the item.
        """
        key = f"{annotator} {request_key}"
        with self.store.write() as connection:
            kind = claim_queries.kind_of_request(connection, key, claim_id)
            if kind is None:
                kind = self._submit(connection, annotator, claim_id, judgment, key)
            following = self._next(connection, annotator)
        self.leases.drop(claim_id)
        return kind, following

    def skip(
        self, annotator: str, claim_id: int, reason: Mapping[str, object], *, request_key: str
    ) -> Claim | None:
        """Skip the item with a reason and free its place; returns the next item.

        Raises:
            StaleClaimError: as `submit` does.
        """
        key = f"{annotator} {request_key}"
        with self.store.write() as connection:
            if claim_queries.kind_of_request(connection, key, claim_id) is None:
                self._skip(connection, annotator, claim_id, reason, key)
            following = self._next(connection, annotator)
        self.leases.drop(claim_id)
        return following

    def undo(self, annotator: str, *, request_key: str) -> Claim | None:
        """Undo the annotator's last label or skip; returns its item with the form filled in.

        The item's seconds go on from those of the label or skip. None if there is nothing to undo.
        """
        key = f"{annotator} {request_key}"
        with self.store.write() as connection:
            if queries.event_of_request(connection, key) is not None:
                held = claim_queries.held(connection, annotator, self.config.overlap)
                if held is None:
                    return None
                self.leases.renew(held)
                return claim_queries.read(connection, held)
            last = claim_queries.last_event(connection, annotator)
            if last is None:
                return None
            old = claim_queries.own(connection, annotator, last.claim_id)
            assert old is not None  # an event's claim is never deleted before the event
            if old.purpose == QUALIFY and last.kind == SUBMIT:
                return None  # its feedback showed the known ranks
            append(connection, claim_event(UNDO, old, {}, key, undoes=last.id))
            set_state(connection, old.id, UNDONE)
            # A label holds its place; the place of a skip or of a late label may be taken by now.
            holds_place = last.kind == SUBMIT or old.purpose != LABEL
            is_live = holds_place or claiming.take_place(
                connection, old, self.config.overlap, self.leases
            )
            held = new_id(connection, claim_queries.copy_of(old, LIVE if is_live else EXPIRED))
            form = claim_queries.draft_of(last.payload)
            claim_queries.put_draft(connection, held, form, seconds_of(last.payload))
            self.leases.renew(held)
            return claim_queries.read(connection, held)

    def progress(self, annotator: str) -> AnnotatorProgress:
        """The annotator's finished and open items, their pace, and the guideline to follow."""
        with self.store.read() as connection:
            person = person_of(connection, annotator)
            done, left = done_and_left(connection, person, self.config)
            seconds = sorted(claim_queries.last_seconds(connection, annotator))
            guideline = guidelines.newest_version(connection)
        return AnnotatorProgress(
            done=done,
            left=left,
            seconds=seconds[len(seconds) // 2] if seconds else None,
            guideline=guideline,
        )

    def obstacle(self, annotator: str) -> str:
        """Why the annotator gets no item: "paused", "cap", "failed", "role"; "" otherwise."""
        with self.store.read() as connection:
            return obstacle(connection, person_of(connection, annotator), self.config)

    def _next(self, connection: sa.Connection, annotator: str) -> Claim | None:
        person = person_of(connection, annotator)
        if person.paused or person.halted or person.role != ANNOTATOR:
            return None  # their open item waits
        held = claim_queries.held(connection, annotator, self.config.overlap)
        if held is None:
            claiming.expire(connection, self.leases)
            choice = choose(connection, person, self.config)
            if choice is None:
                return None
            held = claiming.new_claim(
                connection, annotator, choice, seed=self.config.seed, leases=self.leases
            )
        self.leases.renew(held)
        return claim_queries.read(connection, held)

    def _submit(
        self,
        connection: sa.Connection,
        annotator: str,
        claim_id: int,
        judgment: Judgment,
        key: str,
    ) -> str:
        row = claiming.open_claim(connection, annotator, claim_id)
        share = self.config.pre_label_share
        if share is not None:
            seed = self.config.seed
            judgment = with_pre_label(connection, row, judgment, share=share, seed=seed)
        label = label_of_claim(row, judgment)
        check_label(label, queries.item_sizes(connection, {row.item_id}))
        has_place = claiming.has_place(connection, row, self.config.overlap, self.leases)
        kind = SUBMIT if has_place else LATE
        append(connection, claim_event(kind, row, queries.payload_of(label), key))
        set_state(connection, claim_id, DONE)
        if kind == SUBMIT and row.purpose == LABEL:
            widen(connection, row.item_id, self.config)
        return kind

    def _skip(
        self,
        connection: sa.Connection,
        annotator: str,
        claim_id: int,
        reason: Mapping[str, object],
        key: str,
    ) -> None:
        row = claiming.open_claim(connection, annotator, claim_id)
        if row.state == LIVE and row.purpose == LABEL:
            queries.add_taken(connection, row.item_id, -1)
        append(connection, claim_event(SKIP, row, reason, key))
        set_state(connection, claim_id, SKIPPED)
