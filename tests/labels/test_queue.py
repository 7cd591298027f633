"""The queue: every item gets its number of labels, despite idle annotators and clock jumps."""

import threading
from collections import Counter

import pytest
import sqlalchemy as sa

from rlhf.labels.leases import Leases
from rlhf.labels.queue import Queue, StaleClaimError
from rlhf.labels.records import Candidate, Judgment, Label, competition_ranks
from rlhf.labels.schema import metadata, tombstones
from rlhf.labels.selection import QueueConfig, choose
from tests.errors import raises


class Clock:
    """A monotonic clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(each_store):
    return each_store


def queue_of(store, count=3, clock=None, **config) -> Queue:
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(count)])
    leases = Leases(60.0, clock) if clock else None
    return Queue(store, QueueConfig(**config), leases)


def judgment(ranks=(1, 2), **extra) -> Judgment:
    return Judgment(ranks=list(ranks), seconds=2.0, extra=extra)


def label_all(queue: Queue, annotator: str) -> list[int]:
    """Label until nothing is left; returns the item ids in their order."""
    items = []
    while (claim := queue.next(annotator)) is not None:
        queue.submit(annotator, claim.id, judgment(), request_key=f"k{claim.id}")
        items.append(claim.item.id)
    return items


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


def test_claiming_a_labelled_item_makes_a_repeat(store):
    queue = queue_of(store, 1)
    for number, purpose in enumerate(("label", "repeat")):
        claim = queue.claim_item("ann", 1)
        assert claim.purpose == purpose
        queue.submit("ann", claim.id, judgment(), request_key=f"k{number}")
    assert [label.purpose for label in store.labels()] == ["label", "repeat"]
    assert queue.next("bob") is None  # the repeat took no place


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


def test_undo_of_skip_takes_a_free_place_again(store):
    queue = queue_of(store, 1)
    queue.skip("ann", queue.next("ann").id, {"reason": "unclear"}, request_key="1")
    back = queue.undo("ann", request_key="u")
    assert queue.next("bob") is None
    assert queue.submit("ann", back.id, judgment(), request_key="2") == ("submit", None)


def test_gold_items_and_repeats_are_mixed_in(store):
    """20% of 10 gold items and 20% repeats with 60 ordinary items; they take no places."""
    queue = queue_of(store, 60, gold_rate=0.2, repeat_rate=0.2, repeat_gap=3)
    gold = [Candidate(prompt=f"g{i}", responses=("a", "b")) for i in range(10)]
    store.add_gold(gold, [(1, 2)] * 10)
    assert len(label_all(queue, "ann")) == len(store.labels())
    purposes = Counter(label.purpose for label in store.labels())
    assert purposes["label"] == 60
    assert 6 <= purposes["gold"] <= 10
    assert 8 <= purposes["repeat"] <= 32
    repeated = [label.item_id for label in store.labels() if label.purpose == "repeat"]
    assert len(set(repeated)) == len(repeated)
    assert store.gold_ranks() == {item: [1, 2] for item in range(61, 71)}


def test_active_sampling_stores_the_probability_of_its_draw(store):
    """4 items of priority 0, 0, 0, 6 with floor 0.4: 0.1, 0.1, 0.1 and 0.7; the last is drawn
    first for 140 of 200 annotators on average, deviation 6.5."""
    queue = queue_of(store, 4, overlap=1000, active_floor=0.4)
    store.set_priorities({4: 6.0})
    first = Counter()
    for number in range(200):
        claim = queue.next(f"ann{number}")
        first[claim.item.id] += 1
        assert claim.probability == pytest.approx(0.7 if claim.item.id == 4 else 0.1)
    assert 110 < first[4] < 170
    assert min(first[1], first[2], first[3]) > 5


@pytest.mark.parametrize("config", [{}, {"active_floor": 0.0}, {"active_floor": 1.0}])
def test_choice_reads_only_a_covering_index(sqlite_store, config):
    """By SQLite's query plan of every statement; 10,000 long responses are never read."""
    queue = queue_of(sqlite_store, 3, overlap=2, **config)
    sqlite_store.set_priorities({1: 0.5, 2: 0.1})
    statements: list[str] = []
    with sqlite_store.write() as connection:
        raw = connection.connection.driver_connection
        raw.set_trace_callback(statements.append)
        assert choose(connection, "ann", queue.config) is not None
        raw.set_trace_callback(None)
        plans = [
            step
            for statement in statements
            for (*_, step) in raw.execute(f"EXPLAIN QUERY PLAN {statement}")
        ]
    steps = [step for step in plans if " items " in step]
    assert steps
    assert all("COVERING INDEX" in step for step in steps), plans


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


@pytest.mark.parametrize(
    ("wrong", "code", "key"),
    [
        ({"overlap": 0}, "bad-value", "overlap=0"),
        ({"gold_rate": 2}, "bad-value", "gold_rate=2"),
        ({"repeat_rate": 0.95}, "key-conflict", "repeat_rate"),
        ({"lease_seconds": -60.0}, "bad-value", "lease_minutes=-1"),
    ],
)
def test_impossible_settings_raise(wrong, code, key):
    with raises(code, key):
        QueueConfig(**wrong)


def test_competition_ranks_count_the_responses_above():
    assert competition_ranks([1, 3, 3, 5]) == [1, 2, 2, 4]
    assert competition_ranks([4, 4]) == [1, 1]
