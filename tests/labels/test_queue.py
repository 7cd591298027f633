"""The queue: every item gets its number of labels, once from each annotator."""

import threading
from collections import Counter

import pytest

from rlhf.labels.claiming import StaleClaimError
from rlhf.labels.records import Label, competition_ranks
from tests.errors import raises
from tests.labels.queues import Clock, judgment, label_all, queue_of


@pytest.fixture
def store(each_store):
    return each_store


def test_item_goes_to_overlap_annotators_once_each(store):
    queue = queue_of(store, 4, overlap=2)
    assert label_all(queue, "ann") == [1, 2, 3, 4]
    assert label_all(queue, "bob") == [1, 2, 3, 4]
    assert label_all(queue, "cat") == []
    assert Counter(label.item_id for label in store.labels()) == {1: 2, 2: 2, 3: 2, 4: 2}


def test_annotator_keeps_their_item_and_others_get_another(store):
    queue = queue_of(store)
    first = queue.next("ann")
    assert queue.next("ann") == first
    assert queue.next("bob").item.id != first.item.id


def test_order_shown_depends_on_annotator_and_item(store):
    """About half of 40 items start with the first response; two annotators differ."""
    queue = queue_of(store, 40, overlap=2)
    orders = {}
    for annotator in ("ann", "bob"):
        label_all(queue, annotator)
        own = [label for label in store.labels() if label.annotator == annotator]
        orders[annotator] = [tuple(label.order_shown) for label in own]
        assert 8 < orders[annotator].count((0, 1)) < 32
    assert orders["ann"] != orders["bob"]


def test_repeated_request_is_one_label(store):
    queue = queue_of(store)
    claim = queue.next("ann")
    assert queue.submit("ann", claim.id, judgment(), request_key="k")[0] == "submit"
    assert queue.submit("ann", claim.id, judgment(), request_key="k")[0] == "submit"
    assert len(store.labels()) == 1


def test_claim_is_answered_once_and_only_by_its_annotator(store):
    queue = queue_of(store)
    claim = queue.next("ann")
    with pytest.raises(StaleClaimError):
        queue.submit("bob", claim.id, judgment(), request_key="b")
    with pytest.raises(StaleClaimError):
        queue.skip("bob", claim.id, {}, request_key="b2")
    assert not queue.save_draft("bob", claim.id, {"tiers": [1]})
    assert not queue.heartbeat("bob", claim.id)
    assert queue.undo("bob", request_key="b3") is None
    queue.submit("ann", claim.id, judgment(), request_key="1")
    with pytest.raises(StaleClaimError):
        queue.submit("ann", claim.id, judgment((2, 1)), request_key="2")
    assert [tuple(label.ranks) for label in store.labels()] == [(1, 2)]


def test_unfit_ranks_raise_and_change_nothing(store):
    queue = queue_of(store)
    claim = queue.next("ann")
    with raises("bad-label", [1]):
        queue.submit("ann", claim.id, judgment((1,)), request_key="k")
    assert queue.next("ann") == claim


def test_claiming_a_labelled_item_makes_a_repeat(store):
    queue = queue_of(store, 1)
    for number, purpose in enumerate(("label", "repeat")):
        claim = queue.claim_item("ann", 1)
        assert claim.purpose == purpose
        queue.submit("ann", claim.id, judgment(), request_key=f"k{number}")
    assert [label.purpose for label in store.labels()] == ["label", "repeat"]
    assert queue.next("bob") is None  # the repeat took no place


def test_claiming_an_item_that_was_labelled_without_the_page_makes_a_repeat(store):
    queue = queue_of(store, 1)
    event = store.submit(Label(item_id=1, annotator="ann", ranks=[1, 2]))
    assert queue.claim_item("ann", 1).purpose == "repeat"
    assert queue.claim_item("bob", 1).purpose == "label"
    store.undo(event)
    assert queue.claim_item("ann", 1).purpose == "label"


def test_undo_returns_the_item_with_its_form(store):
    queue = queue_of(store, 3)
    one = queue.next("ann")
    queue.submit("ann", one.id, judgment(form={"tiers": [1, 2]}), request_key="1")
    two = queue.next("ann")
    queue.skip("ann", two.id, {"reason": "unclear"}, request_key="2")
    assert queue.undo("ann", request_key="u1").item.id == two.item.id
    undone = queue.undo("ann", request_key="u2")
    assert (undone.item.id, undone.order_shown, undone.draft) == (
        one.item.id,
        one.order_shown,
        {"tiers": [1, 2]},
    )
    assert undone.id > one.id
    assert store.labels() == []
    assert queue.undo("ann", request_key="u2").id == undone.id  # a retried undo is one undo
    queue.submit("ann", undone.id, judgment((2, 1)), request_key="3")
    assert [tuple(label.ranks) for label in store.labels()] == [(2, 1)]
    assert queue.next("ann").item.id == two.item.id


@pytest.mark.parametrize("first", ["skip", "late"])
def test_undo_of_skip_or_late_label_takes_no_filled_place(store, first):
    """One item with one place, which Bob has filled before Ann's undo: her label is late."""
    clock = Clock()
    queue = queue_of(store, 1, clock)
    claim = queue.next("ann")
    if first == "skip":
        queue.skip("ann", claim.id, {"reason": "unclear"}, request_key="1")
    clock.now = 61.0
    queue.submit("bob", queue.next("bob").id, judgment(), request_key="b")
    if first == "late":
        assert queue.submit("ann", claim.id, judgment(), request_key="1")[0] == "late"
    back = queue.undo("ann", request_key="u")
    assert back.item == claim.item
    assert queue.submit("ann", back.id, judgment((2, 1)), request_key="2") == ("late", None)
    assert [label.annotator for label in store.labels()] == ["bob"]


def test_retried_undo_renews_the_lease(store):
    """Ann's page repeats the undo after her lease ran out and Bob took the item's other place."""
    clock = Clock()
    queue = queue_of(store, 2, clock, overlap=2)
    queue.submit("ann", queue.next("ann").id, judgment(form={"tiers": [1, 2]}), request_key="1")
    back = queue.undo("ann", request_key="u")
    clock.now = 61.0
    assert queue.next("bob").item.id == back.item.id
    assert queue.undo("ann", request_key="u").id == back.id
    assert queue.next("cat").item.id != back.item.id


def test_undo_of_skip_takes_a_free_place_again(store):
    queue = queue_of(store, 1)
    queue.skip("ann", queue.next("ann").id, {"reason": "unclear"}, request_key="1")
    back = queue.undo("ann", request_key="u")
    assert queue.next("bob") is None
    assert queue.submit("ann", back.id, judgment(), request_key="2") == ("submit", None)


def test_progress_counts_done_and_open_items(store):
    queue = queue_of(store, 3)
    assert queue.progress("ann").left == 3
    claim = queue.next("ann")
    assert (queue.progress("ann").done, queue.progress("ann").left) == (0, 3)
    queue.submit("ann", claim.id, judgment(), request_key="k")
    progress = queue.progress("ann")
    assert (progress.done, progress.left, progress.seconds) == (1, 2, 2.0)
    assert queue.progress("bob").left == 1  # Ann holds the second by now


def test_threads_fill_every_place_once(store):
    """12 items, overlap 3, 10 threads: 36 labels, no annotator twice on an item."""
    queue = queue_of(store, 12, overlap=3)
    threads = [threading.Thread(target=label_all, args=(queue, f"ann{i}")) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = store.labels()
    assert Counter(label.item_id for label in labels) == dict.fromkeys(range(1, 13), 3)
    assert len({(label.item_id, label.annotator) for label in labels}) == 36


def test_competition_ranks_count_the_responses_above():
    assert competition_ranks([1, 3, 3, 5]) == [1, 2, 2, 4]
    assert competition_ranks([4, 4]) == [1, 1]
