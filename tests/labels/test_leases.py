"""Leases of items: idle annotators, labels by REST and from files meanwhile, clock jumps."""

from collections import Counter

import pytest

from rlhf.labels.leases import Leases
from rlhf.labels.program_labels import add_label_of_program
from rlhf.labels.queue import Queue
from rlhf.labels.records import Label
from rlhf.labels.web.serve import is_reached
from tests.errors import raises
from tests.labels.queues import Clock, judgment, label_all, queue_of


@pytest.fixture
def store(each_store):
    return each_store


def send_label(queue: Queue, item_id: int, annotator: str) -> int:
    """A label as the REST API adds it."""
    label = Label(item_id=item_id, annotator=annotator, ranks=(1, 2))
    return add_label_of_program(queue.store, queue.leases, label, f"rest:{annotator}-{item_id}")


def test_expired_lease_frees_the_place_and_the_label_is_late(store):
    """Ann is idle beyond her lease, Bob gets her item, and her label is stored as late."""
    clock = Clock()
    queue = queue_of(store, 1, clock)
    idle = queue.next("ann")
    assert queue.next("bob") is None
    clock.now = 61.0
    claim = queue.next("bob")
    assert (claim.item.id, claim.id > idle.id) == (idle.item.id, True)
    assert queue.submit("ann", idle.id, judgment(), request_key="a")[0] == "late"
    assert queue.submit("ann", idle.id, judgment(), request_key="a")[0] == "late"
    assert queue.submit("bob", claim.id, judgment(), request_key="b")[0] == "submit"
    assert [label.annotator for label in store.labels()] == ["bob"]


def test_expired_claim_counts_while_its_place_is_free(store):
    clock = Clock()
    queue = queue_of(store, 2, clock)
    idle = queue.next("ann")
    clock.now = 61.0
    assert queue.next("bob").item.id == idle.item.id  # the place is taken…
    queue.skip("bob", queue.next("bob").id, {"reason": "unclear"}, request_key="s")  # …and freed
    assert queue.submit("ann", idle.id, judgment(), request_key="a")[0] == "submit"


def test_draft_survives_its_lease(store):
    clock = Clock()
    queue = queue_of(store, 2, clock)
    claim = queue.next("ann")
    assert queue.save_draft("ann", claim.id, {"tiers": [2, 1]})
    clock.now = 61.0
    queue.skip("bob", queue.next("bob").id, {}, request_key="s")
    resumed = queue.next("ann")
    assert (resumed.id, resumed.draft) == (claim.id, {"tiers": [2, 1]})


def test_expired_claim_returns_to_same_annotator(store):
    """With overlap 2 and two annotators, the item needs a label from Ann."""
    clock = Clock()
    queue = queue_of(store, 2, clock, overlap=2)
    expired = queue.next("ann")
    clock.now = 61.0
    assert label_all(queue, "bob") == [1, 2]
    assert queue.next("bob") is None
    assert queue.progress("ann").left == 2
    claim = queue.next("ann")
    assert (claim.id, claim.item, claim.order_shown) == (
        expired.id,
        expired.item,
        expired.order_shown,
    )
    assert label_all(queue, "ann") == [1, 2]
    assert Counter(label.item_id for label in store.labels()) == {1: 2, 2: 2}
    assert queue.next("cat") is None


def test_item_of_an_expired_claim_or_a_skip_is_labelled_once(store):
    """Ann sends labels by REST: of an item whose draft has expired, and of one that she skipped."""
    clock = Clock()
    queue = queue_of(store, 2, clock, overlap=3)
    draft = queue.next("ann")
    queue.save_draft("ann", draft.id, {"tiers": [2, 1]})
    clock.now = 61.0
    queue.next("bob")  # frees the place of Ann's claim
    send_label(queue, draft.item.id, "ann")
    other = queue.next("ann")
    assert other.item.id != draft.item.id
    assert queue.submit("ann", draft.id, judgment((2, 1)), request_key="1")[0] == "late"
    queue.undo("ann", request_key="2")  # the late label, which still does not count
    queue.skip("ann", other.id, {}, request_key="3")
    send_label(queue, other.item.id, "ann")
    again = queue.undo("ann", request_key="4")
    assert again.item.id == other.item.id
    assert queue.submit("ann", again.id, judgment((2, 1)), request_key="5")[0] == "late"
    assert [tuple(label.ranks) for label in store.labels()] == [(1, 2), (1, 2)]


def test_lease_that_has_run_out_blocks_no_label_by_rest(store):
    """Nobody has asked for an item since, so the claim is still live in the store."""
    clock = Clock()
    queue = queue_of(store, 1, clock)
    claim = queue.next("ann")
    with raises("not-allowed", "on the page"):
        send_label(queue, 1, "ann")
    clock.now = 61.0
    send_label(queue, 1, "ann")
    assert queue.next("bob") is None  # her label has the one place
    assert queue.submit("ann", claim.id, judgment((2, 1)), request_key="1")[0] == "late"
    assert [tuple(label.ranks) for label in store.labels()] == [(1, 2)]


def test_label_is_late_if_a_file_brought_one_while_the_page_showed_the_item(store):
    """Of three places a file gives Ann one; her page's is free again, for Bob and Cat."""
    queue = queue_of(store, 1, overlap=3)
    claim = queue.next("ann")
    store.submit_many([Label(item_id=1, annotator="ann", ranks=(1, 2))])
    assert queue.submit("ann", claim.id, judgment((2, 1)), request_key="1")[0] == "late"
    assert [label_all(queue, name) for name in ("ann", "bob", "cat", "dan")] == [[], [1], [1], []]
    assert [tuple(one.ranks) for one in store.labels() if one.annotator == "ann"] == [(1, 2)]


def test_lease_that_has_run_out_takes_no_place_from_an_older_page(store):
    """Ann's claim expired and Bob got the item; his lease has run out too when she submits."""
    clock = Clock()
    queue = queue_of(store, 1, clock)
    idle = queue.next("ann")
    clock.now = 61.0
    claim = queue.next("bob")
    clock.now = 122.0
    assert queue.submit("ann", idle.id, judgment(), request_key="1")[0] == "submit"
    assert queue.submit("bob", claim.id, judgment(), request_key="2")[0] == "late"


def test_rejected_label_by_rest_renews_no_lease(store):
    clock = Clock()
    queue = queue_of(store, 2, clock)
    queue.next("ann")
    clock.now = 61.0
    queue.claim_item("bob", 2)
    with raises("not-allowed", "on the page"):
        send_label(queue, 2, "bob")
    assert queue.next("cat").item.id == 1


def test_lease_of_a_repeat_that_has_run_out_does_not_keep_the_server_up(store):
    clock = Clock()
    queue = queue_of(store, 1, clock)
    queue.submit("ann", queue.claim_item("ann", 1).id, judgment(), request_key="1")
    assert is_reached(queue, "all")
    assert queue.claim_item("ann", 1).purpose == "repeat"
    assert not is_reached(queue, "all")
    clock.now = 61.0
    assert is_reached(queue, "all")


def test_heartbeats_renew_a_lease_and_a_restart_starts_a_full_one(store):
    clock = Clock()
    queue = queue_of(store, 1, clock)
    claim = queue.next("ann")
    for _ in range(5):
        clock.now += 50
        assert queue.heartbeat("ann", claim.id)
    assert queue.next("bob") is None
    restarted = Queue(store, queue.config, Leases(60.0, clock))
    clock.now += 1000
    assert restarted.next("bob") is None  # the new process checks the claim for the first time
    clock.now += 61
    assert restarted.next("bob").item.id == claim.item.id


def test_wall_clock_jumps_do_not_affect_leases(store, monkeypatch):
    queue = queue_of(store, 3)
    first = queue.next("ann")
    for jump in (3600, -7200):
        now = __import__("time").time() + jump
        monkeypatch.setattr("time.time", lambda now=now: now)
        assert queue.next("ann") == first
        assert queue.next("bob").item.id != first.item.id
    queue.submit("ann", first.id, judgment(), request_key="k")
    assert [label.item_id for label in store.labels()] == [first.item.id]
