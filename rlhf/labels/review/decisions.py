"""What a researcher may decide about an item or a label: each is an event with a reason.

`by` is the name of whoever decides.
"""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries, validation
from rlhf.labels.events import Event, append, append_label, append_undo
from rlhf.labels.form_versions import forms_of
from rlhf.labels.records import Label, StoredLabel
from rlhf.labels.review.correction import NOTHING, CorrectedFields, corrected_extra
from rlhf.labels.schema import (
    ADMINISTRATOR,
    CONTEST,
    DONE,
    EXCLUDE,
    EXCLUDED,
    GOLD,
    MARKED,
    OPEN,
    REOPEN,
    RETIRED,
    UNDONE,
    claims,
    events,
    gold,
    items,
)
from rlhf.labels.store import LabelStore

MAX_REASON = 2000


def exclude(store: LabelStore, item_id: int, reason: str, *, by: str = ADMINISTRATOR) -> None:
    """Take an item out of the queue; its labels stay in the log and do not count.

    Raises:
        DataError: no such item, it is excluded already, or no reason.
    """
    with store.write() as connection:
        if queries.queue_of(connection, item_id) == EXCLUDED:
            raise DataError(f"item {item_id} is excluded already.", code="not-allowed")
        _set_queue(connection, item_id, EXCLUDED)
        _log(connection, EXCLUDE, item_id, reason, by)


def reopen(store: LabelStore, item_id: int, reason: str, *, by: str = ADMINISTRATOR) -> None:
    """Bring an excluded item back with its labels, hand a retired one out again, or let one more
    annotator label an item.

    Raises:
        DataError: no such item, no reason, or an item that is not labelled.
    """
    with store.write() as connection:
        queue = queries.queue_of(connection, item_id)
        if queue == EXCLUDED:
            _set_queue(connection, item_id, _former_queue(connection, item_id))
        elif queue == RETIRED:
            _set_queue(connection, item_id, OPEN)
        elif queue == OPEN:
            queries.add_places(connection, item_id, 1)
        else:
            raise DataError(
                f"item {item_id} is not handed out for labels; it cannot be reopened.",
                code="not-allowed",
            )
        _log(connection, REOPEN, item_id, reason, by)


def contest(store: LabelStore, item_id: int, reason: str, *, by: str = ADMINISTRATOR) -> None:
    """Send an item to the adjudicators, however much its annotators agree.

    Raises:
        DataError: no such item, no reason, or an item without two responses to compare.
    """
    with store.write() as connection:
        if queries.queue_of(connection, item_id) != OPEN:
            raise DataError(f"item {item_id} is not one to adjudicate.", code="not-allowed")
        _log(connection, CONTEST, item_id, reason, by)


def take_back(store: LabelStore, event_id: int, reason: str, *, by: str = ADMINISTRATOR) -> None:
    """Undo a label of an annotator; its item goes to an annotator again.

    Raises:
        DataError: no such label, it was undone before, or no reason.
    """
    with store.write() as connection:
        payload = {"by": by, "reason": checked_reason(reason)}
        append_undo(connection, event_id, request_key=None, payload=payload)
        claim = sa.select(events.c.claim_id).where(events.c.id == event_id).scalar_subquery()
        ended = sa.update(claims).where(claims.c.id == claim, claims.c.state == DONE)
        connection.execute(ended.values(state=UNDONE))


def correct(
    store: LabelStore,
    event_id: int,
    ranks: Sequence[int],
    reason: str,
    fields: CorrectedFields = NOTHING,
    *,
    by: str = ADMINISTRATOR,
) -> int:
    """Replace the ranks of a label, and fields of its form, by a new event; returns its id.

    The new label has the same annotator, item and purpose, and records in `extra` who corrected
    which event and why. Its annotator can no longer undo it.

    Raises:
        DataError: no such label, it was undone before, ranks or fields that do not fit, or no
            reason.
    """
    reason = checked_reason(reason)
    with store.write() as connection:
        old = _label(connection, event_id)
        new = with_ranks(old, validation.whole_ranks(list(ranks)))
        validation.check_label(new, queries.item_sizes(connection, {old.item_id}))
        extra = corrected_extra(old, new.ranks, fields, forms_of(connection).get(old.form_version))
        extra["corrected"] = {"by": by, "event_id": event_id, "reason": reason}
        payload = {"by": by, "reason": reason}
        append_undo(connection, event_id, request_key=None, payload=payload)
        return append_label(connection, replace(new, extra=extra), request_key=None)


def with_ranks(old: StoredLabel, ranks: Sequence[int]) -> Label:
    """The label with these ranks; other ranks have the strength of an ordinary preference."""
    strength = old.strength if list(ranks) == list(old.ranks) else 1.0
    values = replace(old, ranks=list(ranks), strength=strength)
    return Label(**{name: getattr(values, name) for name in Label.__dataclass_fields__})


def checked_reason(reason: str) -> str:
    """The reason without outer spaces.

    Raises:
        DataError: it is empty or too long.
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_REASON:
        raise DataError(
            f"give a reason of 1 to {MAX_REASON} characters; it is stored with the event.",
            code="missing-key",
        )
    return reason


def _label(connection: sa.Connection, event_id: int) -> StoredLabel:
    item_id = connection.scalar(sa.select(events.c.item_id).where(events.c.id == event_id))
    labels = [] if item_id is None else queries.standing_labels(connection, item_id=item_id)
    for label in labels:
        if label.event_id == event_id:
            return label
    raise DataError(
        f"event {event_id} is not a label, or it was undone before.", code="unknown-name"
    )


def _former_queue(connection: sa.Connection, item_id: int) -> str:
    """The state of an excluded item before it was excluded."""
    known = connection.scalar(sa.select(gold.c.item_id).where(gold.c.item_id == item_id))
    if known is not None:
        return GOLD
    return MARKED if queries.item_sizes(connection, {item_id})[item_id] == 1 else OPEN


def _set_queue(connection: sa.Connection, item_id: int, queue: str) -> None:
    connection.execute(sa.update(items).where(items.c.id == item_id).values(queue=queue))


def _log(connection: sa.Connection, kind: str, item_id: int, reason: str, by: str) -> None:
    payload = {"by": by, "reason": checked_reason(reason)}
    append(
        connection,
        Event(kind=kind, item_id=item_id, annotator=ADMINISTRATOR, payload=payload),
    )
