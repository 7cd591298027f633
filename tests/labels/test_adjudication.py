"""Adjudication: contested items, blind first, then with the labels shown."""

import pytest

from rlhf.labels import people
from rlhf.labels.access import invite
from rlhf.labels.consensus_rows import ConsensusOptions
from rlhf.labels.disagreement import disagreement
from rlhf.labels.export import rows_of
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate, Label
from rlhf.labels.review import decisions
from rlhf.labels.review.adjudication import Ruling, contested_items, next_task, rule
from rlhf.labels.review.history import Histories
from rlhf.labels.selection import QueueConfig
from rlhf.labels.stats import label_stats
from tests.errors import raises
from tests.labels.queues import judgment, label_all

CONFIG = QueueConfig(overlap=2)


def test_disagreement_by_value():
    """Of three pairs one is reversed: 1/3. A tie against an order is one half."""
    assert disagreement([(1, 2, 3), (1, 3, 2)]) == pytest.approx(1 / 3)
    assert disagreement([(1, 2), (1, 1)]) == 0.5
    assert disagreement([(1, 2), (2, 1), (1, 2)]) == pytest.approx(2 / 3)
    assert disagreement([(2, 2), (1, 1)]) == 0.0
    assert disagreement([(1, 2)]) is None


@pytest.fixture
def store(each_store):
    """Ann and Bob contradict each other on item 1 and agree on item 2; item 3 has one label."""
    each_store.add_candidates(
        [Candidate(prompt=f"p{i}", responses=("a", "b", "c")) for i in range(3)]
    )
    queue = Queue(each_store, CONFIG)
    for name, rankings in (
        ("ann", ((1, 2, 3), (1, 2, 3), (1, 2, 3))),
        ("bob", ((3, 2, 1), (1, 2, 3))),
    ):
        for ranks in rankings:
            claim = queue.next(name)
            key = f"{name}{claim.id}"
            queue.submit(name, claim.id, judgment(ranks, comment=f"by {name}"), request_key=key)
    for name in ("dana", "ann"):
        invite(each_store, name)
    with each_store.write() as connection:
        people.update_person(connection, "dana", role="adjudicator")
    return each_store


def task_of(store, name="dana"):
    return next_task(store, Histories(store).get(), name, CONFIG)


def test_adjudicator_ranks_blind_and_then_sees_the_labels(store):
    task = task_of(store)
    assert (task.item.id, task.blind, task.labels, task.left) == (1, None, [], 1)
    blind = Ruling(item_id=1, ranks=[2, 1, 3], comment="hm")
    assert rule(store, "dana", blind, CONFIG, request_key="k1") == "blind"
    task = task_of(store)
    assert (task.item.id, task.blind.ranks) == (1, [2, 1, 3])
    assert [label.annotator for label in task.labels] == ["ann", "bob"]
    final = Ruling(item_id=1, ranks=[1, 2, 3])
    for _ in range(2):  # a repeated request is one decision
        assert rule(store, "dana", final, CONFIG, request_key="k2") == "final"
    assert task_of(store) is None
    decision = Histories(store).get()[1].decision
    assert decision.extra["blind_ranks"] == [2, 1, 3]
    assert decision.extra["labels_shown"] == [label.event_id for label in task.labels]
    assert label_stats(store).labels == 5  # a decision is no label of an annotator
    kinds = [(row["kind"], row["annotator"]) for row in rows_of(store, "events").rows[-3:]]
    assert kinds == [("submit", "dana"), ("undo", "dana"), ("submit", "dana")]


def test_decision_replaces_the_consensus(store):
    majority = ConsensusOptions(method="majority")
    before = {row["item_id"]: row for row in rows_of(store, "rankings", majority).rows}
    assert (before[1]["ranks"], before[1]["consensus"]) == ([1, 1, 1], "majority")
    rule(store, "dana", Ruling(item_id=1, ranks=[2, 1, 3]), CONFIG, request_key="k1")
    blind = rows_of(store, "rankings", majority).rows
    assert {row["consensus"] for row in blind} == {"majority"}
    assert rows_of(store, "rankings").left_out == {"blind rankings that wait for an adjudicator": 1}
    rule(store, "dana", Ruling(item_id=1, ranks=[2, 1, 3]), CONFIG, request_key="k2")
    after = {row["item_id"]: row for row in rows_of(store, "rankings", majority).rows}
    assert (after[1]["ranks"], after[1]["consensus"]) == ([2, 1, 3], "adjudicated")
    assert after[2]["consensus"] == "majority"
    assert [row["purpose"] for row in rows_of(store, "rankings").rows] == ["label"] * 5 + [
        "adjudication"
    ]


def test_administrator_sends_an_item_and_sends_it_again(store):
    decisions.contest(store, 2, "both look wrong")
    assert contested_items(store, Histories(store).get(), CONFIG) == [1, 2]
    for key in ("k1", "k2"):
        rule(store, "dana", Ruling(item_id=2, ranks=[1, 1, 2]), CONFIG, request_key=key)
    assert contested_items(store, Histories(store).get(), CONFIG) == [1]
    decisions.contest(store, 2, "not convinced")
    assert contested_items(store, Histories(store).get(), CONFIG) == [1, 2]
    decisions.exclude(store, 2, "broken")
    assert contested_items(store, Histories(store).get(), CONFIG) == [1]


def test_only_adjudicators_decide_and_never_their_own_items(store):
    with raises("not-allowed", "ann"):
        rule(store, "ann", Ruling(item_id=1, ranks=[1, 2, 3]), CONFIG, request_key="k")
    with store.write() as connection:
        people.update_person(connection, "ann", role="adjudicator")
    assert task_of(store, "ann") is None
    assert label_all(Queue(store, CONFIG), "ann") == []  # no longer an annotator


def test_second_adjudicator_is_told_that_the_item_is_decided(store):
    invite(store, "eli")
    with store.write() as connection:
        people.update_person(connection, "eli", role="adjudicator")
    for key in ("k1", "k2"):
        rule(store, "dana", Ruling(item_id=1, ranks=[1, 2, 3]), CONFIG, request_key=key)
    with raises("busy"):
        rule(store, "eli", Ruling(item_id=1, ranks=[3, 2, 1]), CONFIG, request_key="k1")
    with raises("bad-label", [1]):
        rule(store, "dana", Ruling(item_id=3, ranks=[1]), CONFIG, request_key="k3")
    assert store.submit(Label(item_id=3, annotator="cat", ranks=(1, 2, 3))) > 0
