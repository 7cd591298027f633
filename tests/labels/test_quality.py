"""Quality by design: qualification rounds, further annotators only where two disagree."""

import pytest

from rlhf.labels.export import rows_of
from rlhf.labels.people import pause_everyone
from rlhf.labels.qualification import score
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate
from rlhf.labels.replies import feedback_of
from rlhf.labels.review import decisions
from rlhf.labels.selection import QueueConfig
from tests.labels.queues import judgment, label_all, queue_of


@pytest.fixture
def store(each_store):
    return each_store


def with_gold(store, count, **config):
    """A queue with two items, and gold items whose second response is better."""
    gold = [
        Candidate(prompt=f"g{i}", responses=("a", "b"), columns={"explanation": f"why {i}"})
        for i in range(count)
    ]
    store.add_gold(gold, [(2, 1)] * count)
    return queue_of(store, 2, **config)


def answer(queue, name, ranks):
    claim = queue.next(name)
    queue.submit(name, claim.id, judgment(ranks), request_key=f"k{claim.id}")
    return claim, feedback_of(queue, name, claim.id)


def test_score_counts_ties_as_wrong():
    """The known ranks decide three pairs; 1 2 2 decides two of them correctly and ties one."""
    assert score((1, 2, 3), (1, 2, 2)) == (2, 3)
    assert score((1, 1), (1, 2)) == (0, 0)


def test_passed_round_leads_to_the_items(store):
    queue = with_gold(store, 3, qualification=2, pass_mark=0.5)
    claim, feedback = answer(queue, "ann", (2, 1))
    assert claim.purpose == "qualify"
    assert (feedback.known, feedback.explanation) == ((2, 1), f"why {claim.item.prompt[1:]}")
    assert (feedback.standing.done, feedback.standing.items, feedback.standing.share) == (1, 2, 1.0)
    assert not feedback.standing.passed
    _, feedback = answer(queue, "ann", (1, 2))
    assert (feedback.standing.share, feedback.standing.passed) == (0.5, True)
    claim, feedback = answer(queue, "ann", (1, 2))
    assert (claim.purpose, claim.item.prompt, feedback) == ("label", "p0", None)
    exported = rows_of(store, "rankings")
    assert (len(exported.rows), exported.left_out) == (1, {"labels of qualification rounds": 2})


def test_failed_round_is_repeated_with_unseen_items_and_the_last_one_ends(store):
    queue = with_gold(store, 4, qualification=2, pass_mark=1.0, tries=2)
    seen = []
    for number in range(4):
        claim, feedback = answer(queue, "ann", (1, 2))
        seen.append(claim.item.id)
        assert feedback.standing.round == 1 + number // 2
    assert sorted(seen) == [1, 2, 3, 4]
    assert (feedback.standing.failed, feedback.standing.share) == (True, 0.0)
    assert (queue.next("ann"), queue.obstacle("ann")) == (None, "failed")
    assert (queue.progress("ann").left, queue.progress("bob").left) == (0, 2)
    with store.write() as connection:
        pause_everyone(connection, True)
    assert (queue.obstacle("ann"), queue.obstacle("bob")) == ("failed", "paused")
    with store.write() as connection:
        pause_everyone(connection, False)
    assert queue.next("bob").purpose == "qualify"  # everybody has a round of their own


def test_qualification_label_cannot_be_undone(store):
    """Its feedback showed the known ranks."""
    queue = with_gold(store, 2, qualification=2)
    answer(queue, "ann", (1, 2))
    assert queue.undo("ann", request_key="u") is None
    assert len(store.labels()) == 1


def test_round_is_as_long_as_there_are_gold_items_and_none_is_passed(store):
    queue = with_gold(store, 1, qualification=5)
    answer(queue, "ann", (2, 1))
    assert queue.next("ann").purpose == "label"
    decisions.exclude(store, 1, "wrong")
    assert queue.next("bob").purpose == "label"


def test_gold_item_of_the_round_is_not_hidden_gold_later(store):
    queue = with_gold(store, 2, qualification=1, gold_rate=0.9)
    first, _ = answer(queue, "ann", (2, 1))
    later = [answer(queue, "ann", (2, 1))[0] for _ in range(3)]
    assert first.item.id not in [claim.item.id for claim in later]
    assert sum(claim.purpose == "gold" for claim in later) == 1


def test_third_annotator_only_where_two_disagree(store):
    queue = queue_of(store, 3, overlap=2, max_overlap=3, disagreement=0.3)
    for name, rankings in (
        ("ann", ((1, 2), (1, 2), (1, 2))),
        ("bob", ((1, 2), (2, 1), (1, 1))),
    ):
        for ranks in rankings:
            answer(queue, name, ranks)
    assert label_all(queue, "cat") == [2, 3]
    assert label_all(queue, "dan") == []  # max_overlap
    assert len(store.labels()) == 8


def test_agreement_after_a_change_of_mind_keeps_the_place(store):
    """Bob contradicts Ann, undoes it and agrees: the further place stays."""
    queue = queue_of(store, 1, overlap=2, max_overlap=3)
    answer(queue, "ann", (1, 2))
    answer(queue, "bob", (2, 1))
    claim = queue.undo("bob", request_key="u")
    queue.submit("bob", claim.id, judgment((1, 2)), request_key="again")
    assert label_all(queue, "cat") == [1]


def test_without_max_overlap_disagreement_adds_nobody(store):
    queue = Queue(store, QueueConfig(overlap=2))
    store.add_candidates([Candidate(prompt="p", responses=("a", "b"))])
    answer(queue, "ann", (1, 2))
    answer(queue, "bob", (2, 1))
    assert queue.next("cat") is None
