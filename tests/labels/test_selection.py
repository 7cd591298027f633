"""The choice of the next item: gold items, repeats, priorities."""

from collections import Counter

import pytest

from rlhf.labels.access import invite
from rlhf.labels.people import Person, person_of, set_requirements, suitable_tags
from rlhf.labels.priorities import set_priorities
from rlhf.labels.records import Candidate
from rlhf.labels.selection import QueueConfig, choose
from tests.errors import raises
from tests.labels.queues import label_all, queue_of


@pytest.fixture
def store(each_store):
    return each_store


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
    set_priorities(store, {4: 6.0})
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
    set_priorities(sqlite_store, {1: 0.5, 2: 0.1})
    statements: list[str] = []
    with sqlite_store.write() as connection:
        raw = connection.connection.driver_connection
        raw.set_trace_callback(statements.append)
        assert choose(connection, Person(name="ann"), queue.config) is not None
        raw.set_trace_callback(None)
        plans = [
            step
            for statement in statements
            for (*_, step) in raw.execute(f"EXPLAIN QUERY PLAN {statement}")
        ]
    steps = [step for step in plans if " items " in step]
    assert steps
    assert all("COVERING INDEX" in step for step in steps), plans


def test_tags_are_compared_only_where_an_item_requires_one(store):
    """The person says so, so that the queue asks the database nothing more."""
    queue_of(store, 2)
    invite(store, "ann")
    with store.write() as connection:
        before = person_of(connection, "ann")
        assert not before.tags_matter
        set_requirements(connection, {1: ["de"]})
        after = person_of(connection, "ann")
        assert after.tags_matter
        assert suitable_tags(connection, after) is not None
        assert suitable_tags(connection, before) is None  # not asked again


@pytest.mark.parametrize(
    ("wrong", "code", "key"),
    [
        ({"overlap": 0}, "bad-value", "overlap=0"),
        ({"gold_rate": 2}, "bad-value", "gold_rate=2"),
        ({"repeat_rate": 0.95}, "key-conflict", "repeat_rate"),
        ({"lease_seconds": -60.0}, "bad-value", "lease_minutes=-1"),
        ({"overlap": 3, "max_overlap": 2}, "key-conflict", "max_overlap=2"),
        ({"disagreement": 1.5}, "bad-value", "disagreement=1.5"),
        ({"qualification": -1}, "bad-value", "qualification=-1"),
        ({"pre_label_share": 2}, "bad-value", "pre_label_share=2"),
        ({"tries": 0}, "bad-value", "tries=0"),
    ],
)
def test_impossible_settings_raise(wrong, code, key):
    with raises(code, key):
        QueueConfig(**wrong)
