"""Labels that programs send: a key adds one label, and an annotator takes one place of an item."""

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import claim_queries, claiming, queries, validation
from rlhf.labels.events import append_label
from rlhf.labels.leases import Leases
from rlhf.labels.records import Label
from rlhf.labels.schema import EXCLUDED, GOLD, MARKED, OPEN, RETIRED, events
from rlhf.labels.store import LabelStore

# Why an item in this state of the queue takes no label of a program.
NO_LABELS = {
    EXCLUDED: "it is excluded, so the label would not count",
    GOLD: "it is a gold item, which measures annotators on the page",
    MARKED: "it is a single response of a chat",
    RETIRED: "it is retired, as its labels were deleted",
}


def add_label_of_program(store: LabelStore, leases: Leases, label: Label, key: str) -> int:
    """The id of the label's event; a key that was sent before gives the id of its label.

    Args:
        store: the labels.
        leases: of the claims of the label page.
        label: the label.
        key: of the request.

    Raises:
        DataError: a label that does not fit its item, an item that takes none of the annotator, or
            a key that was sent before with another label.
    """
    with store.write() as connection:
        earlier = queries.event_of_request(connection, key)
        if earlier is not None:
            _check_same(connection, earlier, label)
            return earlier
        validation.check_label(label, queries.item_sizes(connection, {label.item_id}))
        claiming.expire(connection, leases)
        _check_open(connection, label)
        return append_label(connection, label, request_key=key)


def _check_open(connection: sa.Connection, label: Label) -> None:
    """Raise DataError if the item takes no label, or none of this annotator any more.

    A person takes one place of an item: an item that they have labelled or hold takes no other.
    """
    queue = queries.queue_of(connection, label.item_id)
    if queue != OPEN:
        raise DataError(
            f"item {label.item_id} takes no label here: {NO_LABELS[queue]}.", code="not-allowed"
        )
    if claim_queries.has_label(connection, label.annotator, label.item_id):
        raise DataError(
            f"{label.annotator} has a label of item {label.item_id} already; an administrator can "
            "correct it on the item's page.",
            code="not-allowed",
        )
    if claim_queries.is_holding(connection, label.annotator, label.item_id):
        raise DataError(
            f"{label.annotator} is labelling item {label.item_id} on the page; finish it there.",
            code="not-allowed",
        )


def _check_same(connection: sa.Connection, event_id: int, label: Label) -> None:
    """Raise DataError if the event is of another label: two programs may count their keys alike."""
    row = connection.execute(sa.select(events).where(events.c.id == event_id)).one()
    sent = queries.stored_label(row)
    if queries.identity(sent) != queries.identity(label) or sent.strength != label.strength:
        raise DataError(
            f"the key was sent before with another label, of item {sent.item_id} by "
            f"{sent.annotator}; give each label a key of its own.",
            code="not-allowed",
        )
