"""Erasing a person, and what is old: rows, places and the file."""

import pytest
import sqlalchemy as sa

from rlhf.labels.access import invite
from rlhf.labels.erase import erase_older, erase_person, without_name
from rlhf.labels.people import everyone, revoke
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate, Label
from rlhf.labels.review import decisions
from rlhf.labels.review.browse import ItemFilter, browse
from rlhf.labels.review.history import Histories
from rlhf.labels.review.questions import ask, questions_of
from rlhf.labels.schema import claims, events, metadata, people, questions, tombstones
from rlhf.labels.selection import QueueConfig
from tests.errors import raises
from tests.labels.queues import judgment, queue_of


@pytest.fixture
def store(each_store):
    return each_store


def test_erase_deletes_the_annotator_and_leaves_a_tombstone(store):
    add_secrets(store)
    planned = erase_person(store, "zebedee", dry_run=True)
    assert len(store.labels()) == 2  # a dry run changes nothing
    assert planned.left["tombstones"] == 0  # of earlier erasures
    erasure = erase_person(store, "zebedee")
    assert erasure == planned
    # Two labels and an undo; the claims of the label, of its undo, and of the next item.
    assert erasure.removed["events"] == 3
    assert (erasure.labels, erasure.places) == (1, 2)
    assert erasure.left["items"] == 2
    assert erasure.left["events"] == 1
    assert [label.annotator for label in store.labels()] == ["bob"]
    queue = Queue(store, QueueConfig())
    assert queue.next("cat").item.id == 1  # the place is free again
    with store.read() as connection:
        rows = connection.execute(sa.select(tombstones.c.events, tombstones.c.labels)).all()
        assert rows == [(3, 1)]
        for table in metadata.sorted_tables:
            assert "zebedee" not in str(connection.execute(sa.select(table)).all())
    with raises("unknown-name", "'zebedee'; `rlhf label people` lists"):
        erase_person(store, "zebedee")


def test_erased_text_is_gone_from_the_file(sqlite_store, tmp_path):
    add_secrets(sqlite_store)
    assert b"my secret" in (tmp_path / "labels.sqlite").read_bytes()
    erase_person(sqlite_store, "zebedee")
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


def age(store, days, *, up_to):
    """Move events, claims and questions with ids up to this one into the past."""
    with store.write() as connection:
        for table in (events, claims, questions):
            older = sa.update(table).where(table.c.id <= up_to)
            connection.execute(older.values(at=table.c.at - 86_400 * days))


def test_retention_erases_what_is_older_and_retires_its_items(store):
    """Ann labels item 1 ten days ago; Bob labels item 2 and Ann asks today."""
    queue = queue_of(store, 2)
    ask(store, "ann", "old?", None)
    queue.submit("ann", queue.next("ann").id, judgment(comment="old"), request_key="a1")
    queue.skip("ann", queue.next("ann").id, {"reason": "other"}, request_key="a2")
    age(store, 10, up_to=2)
    ask(store, "ann", "new?", None)
    queue.submit("bob", queue.next("bob").id, judgment(comment="new"), request_key="b1")
    with raises("bad-value", "days=0"):
        erase_older(store, 0)
    assert not any(erase_older(store, 30).removed.values())
    planned = erase_older(store, 5, dry_run=True)
    erasure = erase_older(store, 5)
    assert erasure == planned
    assert (erasure.removed["events"], erasure.removed["questions"]) == (2, 1)
    assert erasure.removed["claims"] == 2  # of the label and of the skip
    assert (erasure.labels, erasure.places, erasure.left["events"]) == (1, 0, 1)
    assert erasure.retired == 1
    assert [label.annotator for label in store.labels()] == ["bob"]
    assert [queue.next(name) for name in ("ann", "cat")] == [None, None]
    assert queue.progress("cat").left == 0
    assert [one.text for one in questions_of(store)] == ["new?"]
    assert not any(erase_older(store, 5).removed.values())
    page = browse(store, Histories(store).get(), ItemFilter(state="retired"), overlap=1)
    assert [row.item.id for row in page.rows] == [1]
    decisions.reopen(store, 1, "a new round")
    assert queue.next("cat").item.id == 1


def test_retired_item_keeps_its_other_label_and_gets_no_further_one(store):
    """Of two places one label is old and one new: nobody knows any more who has seen the item."""
    queue = queue_of(store, 1, overlap=3)
    queue.submit("ann", queue.next("ann").id, judgment(), request_key="a")
    age(store, 10, up_to=1)
    held = queue.next("cat")
    queue.submit("bob", queue.next("bob").id, judgment(), request_key="b")
    assert erase_older(store, 5).retired == 1
    assert (queue.next("ann"), queue.next("dan")) == (None, None)
    queue.submit("cat", held.id, judgment(), request_key="c")  # an item in hand is finished
    assert [label.annotator for label in store.labels()] == ["bob", "cat"]


def test_retention_takes_the_later_undo_and_keeps_a_later_correction(store):
    """The label of item 1 is undone and that of item 2 corrected, both after the cutoff."""
    queue = queue_of(store, 2, overlap=2)
    for key in ("a1", "a2"):
        queue.submit("ann", queue.next("ann").id, judgment((1, 2)), request_key=key)
    age(store, 10, up_to=2)
    first, second = store.labels()
    decisions.take_back(store, first.event_id, "twice")
    decisions.correct(store, second.event_id, [2, 1], "swapped")
    erasure = erase_older(store, 5)
    # Two labels, and the undo of each: none of the labels counted any more.
    assert (erasure.removed["events"], erasure.labels, erasure.places) == (4, 0, 0)
    [label] = store.labels()
    assert (label.item_id, label.ranks) == (2, [2, 1])
    assert queue.next("ann").item.id == 1  # not item 2: her corrected label has its place
    assert [queue.next("bob").item.id, len(store.labels())] == [1, 1]


def test_retention_keeps_people_with_access_and_held_items(store):
    queue = queue_of(store, 2)
    for name in ("ann", "old", "busy"):
        invite(store, name)
    held = queue.next("ann")
    store.submit(Label(item_id=2, annotator="busy", ranks=(1, 2)))
    with store.write() as connection:
        connection.execute(sa.update(people).values(at=0.0))
        connection.execute(sa.update(claims).values(at=0.0))
        for name in ("old", "busy"):
            revoke(connection, name)
    assert erase_older(store, 5).removed["people"] == 1
    with store.read() as connection:
        assert [one.name for one in everyone(connection)] == ["ann", "busy"]
    assert queue.next("ann").id == held.id


def test_names_in_parentheses_cannot_be_erased(store):
    store.add_candidates([Candidate(prompt="p", responses=("a", "b"))])
    decisions.exclude(store, 1, "broken")
    for name in ("(administrator)", "(command line)", "(erased)"):
        with raises("unknown-name", name):
            erase_person(store, name)


def test_histories_follow_an_erasure(store):
    """The pages of a running server lose the name at their next request."""
    add_secrets(store)
    decisions.exclude(store, 1, "broken", by="zebedee")
    histories = Histories(store)
    assert "zebedee" in str(histories.get())
    erase_person(store, "zebedee")
    assert "zebedee" not in str(histories.get())
    assert histories.get()[1].events[-1].payload["by"] == "(erased)"


@pytest.mark.parametrize("only", [None, "by"])
def test_name_is_replaced_at_every_depth(only):
    value = {"by": "Zoe\u0308", "list": [{"by": "Zoë", "text": "Zoë"}], "n": 1, "text": "Zoë!"}
    text = "(erased)" if only is None else "Zoë"
    assert without_name(value, "Zoë", only=only) == {
        "by": "(erased)",
        "list": [{"by": "(erased)", "text": text}],
        "n": 1,
        "text": "Zoë!",
    }
