"""The queue: every item to as many people as it is meant for, whatever they and clocks do."""

import threading
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from rlhf.errors import ConfigError, DataError
from rlhf.labels.leases import Leases
from rlhf.labels.queue import Answer, FencedError, Queue
from rlhf.labels.records import Candidate, Label, competition_ranks
from rlhf.labels.schema import metadata, tombstones
from rlhf.labels.selection import QueueConfig, choose
from rlhf.labels.store import LabelStore


class Clock:
    """A monotonic clock that the test winds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(location):
    with LabelStore(location, create=True) as store:
        yield store


@pytest.fixture
def sqlite_store(tmp_path: Path):
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        yield store


def queue_of(store, count=3, clock=None, **config) -> Queue:
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(count)])
    leases = Leases(60.0, clock) if clock else None
    return Queue(store, QueueConfig(**config), leases)


def said(ranks=(1, 2), **extra) -> Answer:
    return Answer(ranks=list(ranks), seconds=2.0, extra=extra)


def work(queue: Queue, annotator: str) -> list[int]:
    """Label until nothing is left; the items in the order they came."""
    items = []
    while (claim := queue.next(annotator)) is not None:
        queue.submit(annotator, claim.id, said(), request_key=f"k{claim.id}")
        items.append(claim.item.id)
    return items


def test_each_item_goes_to_overlap_annotators_and_to_none_twice(store):
    queue = queue_of(store, 4, overlap=2)
    assert work(queue, "ann") == [1, 2, 3, 4]
    assert work(queue, "bob") == [1, 2, 3, 4]
    assert work(queue, "cat") == []
    assert Counter(label.item_id for label in store.labels()) == {1: 2, 2: 2, 3: 2, 4: 2}


def test_who_comes_back_gets_the_same_item_and_others_get_other_ones(store):
    queue = queue_of(store)
    first = queue.next("ann")
    assert queue.next("ann") == first
    assert queue.next("bob").item.id != first.item.id


def test_the_order_shown_depends_on_person_and_item_and_is_stored(store):
    """Of 40 items shown to each, about half begin with the first answer; two people differ."""
    queue = queue_of(store, 40, overlap=2)
    shown = {}
    for annotator in ("ann", "bob"):
        work(queue, annotator)
        own = [label for label in store.labels() if label.annotator == annotator]
        shown[annotator] = [tuple(label.order_shown) for label in own]
        assert 8 < shown[annotator].count((0, 1)) < 32
    assert shown["ann"] != shown["bob"]


def test_a_request_that_comes_twice_is_one_label(store):
    queue = queue_of(store)
    claim = queue.next("ann")
    assert queue.submit("ann", claim.id, said(), request_key="k")[0] == "submit"
    assert queue.submit("ann", claim.id, said(), request_key="k")[0] == "submit"
    assert len(store.labels()) == 1


def test_a_claim_is_answered_once_and_by_its_owner_alone(store):
    queue = queue_of(store)
    claim = queue.next("ann")
    with pytest.raises(FencedError):
        queue.submit("bob", claim.id, said(), request_key="b")
    with pytest.raises(FencedError):
        queue.skip("bob", claim.id, {}, request_key="b2")
    assert not queue.save_draft("bob", claim.id, {"tiers": [1]})
    assert not queue.heartbeat("bob", claim.id)
    assert queue.undo("bob", request_key="b3") is None
    queue.submit("ann", claim.id, said(), request_key="1")
    with pytest.raises(FencedError, match="another window"):
        queue.submit("ann", claim.id, said((2, 1)), request_key="2")
    assert [tuple(label.ranks) for label in store.labels()] == [(1, 2)]


def test_ranks_that_do_not_fit_change_nothing(store):
    queue = queue_of(store)
    claim = queue.next("ann")
    with pytest.raises(DataError, match="do not fit"):
        queue.submit("ann", claim.id, said((1,)), request_key="k")
    assert queue.next("ann") == claim


def test_a_lease_that_ran_out_gives_the_place_away(store):
    """Ann sleeps past her lease; Bob gets her item; what she sends then is kept as late."""
    clock = Clock()
    queue = queue_of(store, 1, clock)
    asleep = queue.next("ann")
    assert queue.next("bob") is None
    clock.now = 61.0
    taken = queue.next("bob")
    assert (taken.item.id, taken.id > asleep.id) == (asleep.item.id, True)
    assert queue.submit("ann", asleep.id, said(), request_key="a")[0] == "late"
    assert queue.submit("ann", asleep.id, said(), request_key="a")[0] == "late"
    assert queue.submit("bob", taken.id, said(), request_key="b")[0] == "submit"
    assert [label.annotator for label in store.labels()] == ["bob"]


def test_an_expired_claim_still_counts_while_its_place_is_free(store):
    clock = Clock()
    queue = queue_of(store, 2, clock)
    asleep = queue.next("ann")
    clock.now = 61.0
    assert queue.next("bob").item.id == asleep.item.id  # the place is given away…
    queue.skip("bob", queue.next("bob").id, {"reason": "unclear"}, request_key="s")  # …and back
    assert queue.submit("ann", asleep.id, said(), request_key="a")[0] == "submit"


def test_a_draft_outlives_its_lease(store):
    clock = Clock()
    queue = queue_of(store, 2, clock)
    claim = queue.next("ann")
    assert queue.save_draft("ann", claim.id, {"tiers": [2, 1]})
    clock.now = 61.0
    queue.skip("bob", queue.next("bob").id, {}, request_key="s")
    again = queue.next("ann")
    assert (again.id, again.draft) == (claim.id, {"tiers": [2, 1]})


def test_who_left_an_item_untouched_gets_it_again(store):
    """Overlap 2 and two people: were it kept from Ann for good, nobody could finish it."""
    clock = Clock()
    queue = queue_of(store, 2, clock, overlap=2)
    left = queue.next("ann")
    clock.now = 61.0
    assert work(queue, "bob") == [1, 2]
    assert queue.next("bob") is None
    assert queue.progress("ann").left == 2
    back = queue.next("ann")
    assert (back.id, back.item.id, back.order_shown) == (left.id, left.item.id, left.order_shown)
    assert work(queue, "ann") == [1, 2]
    assert Counter(label.item_id for label in store.labels()) == {1: 2, 2: 2}
    assert queue.next("cat") is None


def test_an_item_asked_for_again_is_a_repeat_and_no_second_label(store):
    queue = queue_of(store, 1)
    for number, purpose in enumerate(("label", "repeat")):
        claim = queue.claim_item("ann", 1)
        assert claim.purpose == purpose
        queue.submit("ann", claim.id, said(), request_key=f"k{number}")
    assert [label.purpose for label in store.labels()] == ["label", "repeat"]
    assert queue.next("bob") is None  # the repeat took no place


def test_heartbeats_keep_a_claim_and_a_restart_begins_a_whole_lease(store):
    clock = Clock()
    queue = queue_of(store, 1, clock)
    claim = queue.next("ann")
    for _ in range(5):
        clock.now += 50
        assert queue.heartbeat("ann", claim.id)
    assert queue.next("bob") is None
    restarted = Queue(store, queue.config, Leases(60.0, clock))
    clock.now += 1000
    assert restarted.next("bob") is None  # the new process has only now heard of the claim
    clock.now += 61
    assert restarted.next("bob").item.id == claim.item.id


def test_a_wall_clock_that_jumps_by_an_hour_changes_nothing(store, monkeypatch):
    queue = queue_of(store, 3)
    first = queue.next("ann")
    for jump in (3600, -7200):
        now = __import__("time").time() + jump
        monkeypatch.setattr("time.time", lambda now=now: now)
        assert queue.next("ann") == first
        assert queue.next("bob").item.id != first.item.id
    queue.submit("ann", first.id, said(), request_key="k")
    assert [label.item_id for label in store.labels()] == [first.item.id]


def test_undo_gives_the_item_back_as_it_was_filled_in(store):
    queue = queue_of(store, 3)
    one = queue.next("ann")
    queue.submit("ann", one.id, said(form={"tiers": [1, 2]}), request_key="1")
    two = queue.next("ann")
    queue.skip("ann", two.id, {"reason": "unclear"}, request_key="2")
    assert queue.undo("ann", request_key="u1").item.id == two.item.id
    back = queue.undo("ann", request_key="u2")
    assert (back.item.id, back.order_shown, back.draft) == (
        one.item.id,
        one.order_shown,
        {"tiers": [1, 2]},
    )
    assert back.id > one.id
    assert store.labels() == []
    assert queue.undo("ann", request_key="u2").id == back.id  # a retried undo is one undo
    queue.submit("ann", back.id, said((2, 1)), request_key="3")
    assert [tuple(label.ranks) for label in store.labels()] == [(2, 1)]
    assert queue.next("ann").item.id == two.item.id


@pytest.mark.parametrize("first", ["skip", "late"])
def test_taking_back_a_skip_or_a_late_label_takes_nobody_elses_place(store, first):
    """One item of one place, which Bob has filled when Ann thinks again: hers is kept as late."""
    clock = Clock()
    queue = queue_of(store, 1, clock)
    claim = queue.next("ann")
    if first == "skip":
        queue.skip("ann", claim.id, {"reason": "unclear"}, request_key="1")
    clock.now = 61.0
    queue.submit("bob", queue.next("bob").id, said(), request_key="b")
    if first == "late":
        assert queue.submit("ann", claim.id, said(), request_key="1")[0] == "late"
    back = queue.undo("ann", request_key="u")
    assert back.item == claim.item
    assert queue.submit("ann", back.id, said((2, 1)), request_key="2") == ("late", None)
    assert [label.annotator for label in store.labels()] == ["bob"]


def test_taking_back_a_skip_takes_its_place_again_where_it_is_free(store):
    queue = queue_of(store, 1)
    queue.skip("ann", queue.next("ann").id, {"reason": "unclear"}, request_key="1")
    back = queue.undo("ann", request_key="u")
    assert queue.next("bob") is None
    assert queue.submit("ann", back.id, said(), request_key="2") == ("submit", None)


def test_gold_and_repeats_are_mixed_in_and_marked_in_the_store_alone(store):
    """20% gold of 10 and 20% repeats beside 60 ordinary items; none of them takes a place."""
    queue = queue_of(store, 60, gold_rate=0.2, repeat_rate=0.2, repeat_gap=3)
    gold = [Candidate(prompt=f"g{i}", responses=("a", "b")) for i in range(10)]
    store.add_gold(gold, [(1, 2)] * 10)
    assert len(work(queue, "ann")) == len(store.labels())
    purposes = Counter(label.purpose for label in store.labels())
    assert purposes["label"] == 60
    assert 6 <= purposes["gold"] <= 10
    assert 8 <= purposes["repeat"] <= 32
    repeated = [label.item_id for label in store.labels() if label.purpose == "repeat"]
    assert len(set(repeated)) == len(repeated)
    assert store.gold_ranks() == {item: [1, 2] for item in range(61, 71)}


def test_active_sampling_stores_the_probability_that_it_drew_with(store):
    """4 items of priority 0, 0, 0, 6 with floor 0.4: 0.1, 0.1, 0.1 and 0.7; over 200 people
    the last is drawn first 140 times on average, deviation 6.5."""
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
def test_choosing_reads_an_index_and_none_of_the_answers(sqlite_store, config):
    """SQLite's own plan of every statement: 10,000 long answers are never read to choose one."""
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
    of_items = [step for step in plans if " items " in step]
    assert of_items
    assert all("COVERING INDEX" in step for step in of_items), plans


def test_progress_counts_what_is_done_and_open(store):
    queue = queue_of(store, 3)
    assert queue.progress("ann").left == 3
    claim = queue.next("ann")
    assert (queue.progress("ann").done, queue.progress("ann").left) == (0, 3)
    queue.submit("ann", claim.id, said(), request_key="k")
    progress = queue.progress("ann")
    assert (progress.done, progress.left, progress.seconds) == (1, 2, 2.0)
    assert queue.progress("bob").left == 1  # the second is in Ann's hands by now


def test_threads_hand_out_every_place_once(store):
    """12 items, overlap 3, 10 threads that take and label: 36 labels, no pair twice."""
    queue = queue_of(store, 12, overlap=3)
    threads = [threading.Thread(target=work, args=(queue, f"ann{i}")) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = store.labels()
    assert Counter(label.item_id for label in labels) == dict.fromkeys(range(1, 13), 3)
    assert len({(label.item_id, label.annotator) for label in labels}) == 36


def test_erase_deletes_the_person_and_leaves_a_tombstone(store):
    say_secrets(store)
    assert store.erase("zebedee") == 3
    assert [label.annotator for label in store.labels()] == ["bob"]
    queue = Queue(store, QueueConfig())
    assert queue.next("cat").item.id == 1  # the place is free again
    with store.read() as connection:
        rows = connection.execute(sa.select(tombstones.c.events, tombstones.c.labels)).all()
        assert rows == [(3, 1)]
        for table in metadata.sorted_tables:
            assert "zebedee" not in str(connection.execute(sa.select(table)).all())
    with pytest.raises(DataError, match="nothing of annotator"):
        store.erase("zebedee")


def test_who_is_erased_is_not_in_the_file_either(sqlite_store, tmp_path):
    say_secrets(sqlite_store)
    assert b"my secret" in (tmp_path / "labels.sqlite").read_bytes()
    sqlite_store.erase("zebedee")
    content = (tmp_path / "labels.sqlite").read_bytes()
    assert b"zebedee" not in content
    assert b"my secret" not in content


def say_secrets(store):
    """Zebedee labels, takes it back, labels again and holds an item; Bob labels once."""
    queue = queue_of(store, 2)
    claim = queue.next("zebedee")
    queue.submit("zebedee", claim.id, said(comment="my secret opinion"), request_key="k")
    queue.undo("zebedee", request_key="u")
    queue.submit("zebedee", queue.next("zebedee").id, said(comment="my secret"), request_key="k2")
    store.submit(Label(item_id=2, annotator="bob", ranks=(1, 2), order_shown=(0, 1)))


@pytest.mark.parametrize(
    "wrong", [{"overlap": 0}, {"gold_rate": 2}, {"repeat_rate": 0.95}, {"lease_seconds": -60.0}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError):
        QueueConfig(**wrong)


def test_tiers_become_ranks_that_count_the_answers_above():
    assert competition_ranks([1, 3, 3, 5]) == [1, 2, 2, 4]
    assert competition_ranks([4, 4]) == [1, 1]
