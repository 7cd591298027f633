"""Erasing an annotator: rows, places and the file."""

import pytest
import sqlalchemy as sa

from rlhf.labels.queue import Queue
from rlhf.labels.records import Label
from rlhf.labels.schema import metadata, tombstones
from rlhf.labels.selection import QueueConfig
from tests.errors import raises
from tests.labels.queues import judgment, queue_of


@pytest.fixture
def store(each_store):
    return each_store


def test_erase_deletes_the_annotator_and_leaves_a_tombstone(store):
    add_secrets(store)
    assert store.erase("zebedee") == 3
    assert [label.annotator for label in store.labels()] == ["bob"]
    queue = Queue(store, QueueConfig())
    assert queue.next("cat").item.id == 1  # the place is free again
    with store.read() as connection:
        rows = connection.execute(sa.select(tombstones.c.events, tombstones.c.labels)).all()
        assert rows == [(3, 1)]
        for table in metadata.sorted_tables:
            assert "zebedee" not in str(connection.execute(sa.select(table)).all())
    with raises("unknown-name", "zebedee"):
        store.erase("zebedee")


def test_erased_text_is_gone_from_the_file(sqlite_store, tmp_path):
    add_secrets(sqlite_store)
    assert b"my secret" in (tmp_path / "labels.sqlite").read_bytes()
    sqlite_store.erase("zebedee")
    content = (tmp_path / "labels.sqlite").read_bytes()
    assert b"zebedee" not in content
    assert b"my secret" not in content


def add_secrets(store):
    """Zebedee labels, undoes it, labels again and holds an item; Bob labels once."""
    queue = queue_of(store, 2)
    claim = queue.next("zebedee")
    queue.submit("zebedee", claim.id, judgment(comment="my secret opinion"), request_key="k")
    queue.undo("zebedee", request_key="u")
    queue.submit(
        "zebedee", queue.next("zebedee").id, judgment(comment="my secret"), request_key="k2"
    )
    store.submit(Label(item_id=2, annotator="bob", ranks=(1, 2), order_shown=(0, 1)))
