"""Pre-labels: shown after the own choice for labels drawn at random; their effect by value."""

import pytest
from rich.console import Console

from rlhf.labels.pre_labels import is_shown, set_pre_labels
from rlhf.labels.records import Candidate, Label
from rlhf.labels.replies import second_look_of
from rlhf.labels.stats import label_stats
from rlhf.labels.stats_table import print_stats
from tests.labels.queues import judgment, queue_of


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


def submit(queue, claim, ranks, key):
    queue.submit(claim.annotator, claim.id, judgment(ranks), request_key=key)
    return second_look_of(queue, claim.annotator, claim.id)


def test_ranks_are_shown_after_the_own_choice_and_the_first_choice_is_kept(store):
    queue = queue_of(store, 1, pre_label_share=1.0)
    set_pre_labels(store, "rm", {1: (0.1, 0.9)})
    claim = queue.next("ann")
    look = submit(queue, claim, (1, 2), "1")
    order = list(claim.order_shown)
    assert look.ranks == [1 + index for index in order]
    assert look.model_ranks == [2 - index for index in order]
    assert look.excerpts == ["ab"[index] for index in order]
    again = queue.undo("ann", request_key="u")
    assert submit(queue, again, (2, 1), "2") is None  # shown once
    [label] = store.labels()
    assert label.ranks == [2, 1]
    assert label.extra["pre_label"] == {
        "shown": True,
        "source": "rm",
        "ranks": [2, 1],
        "first_ranks": [1, 2],
    }


def test_nothing_is_shown_without_a_difference_a_pre_label_or_the_draw(store):
    queue = queue_of(store, 2, pre_label_share=1.0)
    set_pre_labels(store, "rm", {1: (0.9, 0.1)})
    assert submit(queue, queue.next("ann"), (1, 2), "1") is None
    assert submit(queue, queue.next("ann"), (1, 2), "2") is None
    first, second = store.labels()
    assert first.extra["pre_label"]["shown"] is True
    assert "pre_label" not in second.extra
    held_out = queue_of(store, 1, overlap=2, pre_label_share=0.0)
    assert submit(held_out, held_out.next("bob"), (2, 1), "1") is None
    assert store.labels()[-1].extra["pre_label"]["shown"] is False


def test_share_of_the_draw():
    """Of 2,000 draws with probability 0.8; the deviation is 0.009."""
    shown = sum(is_shown(3, item, "ann", 0.8) for item in range(2000))
    assert shown / 2000 == pytest.approx(0.8, abs=0.03)


def test_effect_by_value(sqlite_store):
    """The model prefers the first response. With its ranks shown Ann first decides items 1 and 2
    against it and changes item 1, so 2 of her 3 labels agree with it, and 1 of 3 first choices.
    Her held-out item 4 disagrees. Bob, unmarked, agrees with Ann on item 1 only."""
    store = sqlite_store
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(4)])
    store.add_gold([Candidate(prompt="g", responses=("a", "b"))], [(2, 1)])

    def label(item, ranks, shown, first=None, purpose="label"):
        record = {"shown": shown, "source": "rm", "ranks": [1, 2]}
        record |= {"first_ranks": first} if first else {}
        store.submit(
            Label(
                item_id=item,
                annotator="ann",
                ranks=ranks,
                purpose=purpose,
                extra={"pre_label": record},
            )
        )

    label(1, (1, 2), True, first=[2, 1])
    label(2, (2, 1), True)
    label(3, (1, 2), True)
    label(4, (2, 1), False)
    label(5, (2, 1), False, purpose="gold")
    for item, ranks in ((1, (1, 2)), (2, (1, 2)), (4, (1, 2))):
        store.submit(Label(item_id=item, annotator="bob", ranks=ranks))
    stats = label_stats(store)
    effect = stats.pre_labels
    assert (effect.shown.labels, effect.held_out.labels) == (3, 2)
    assert (effect.changed.value, effect.changed.n) == (pytest.approx(1 / 3), 3)
    assert (effect.towards_model.value, effect.towards_model.n) == (1.0, 1)
    assert effect.shown.with_model.value == pytest.approx(2 / 3)
    assert effect.first_with_model.value == pytest.approx(1 / 3)
    assert effect.held_out.with_model.value == 0.0
    assert (effect.shown.with_others.value, effect.shown.with_others.n) == (0.5, 2)
    assert (effect.held_out.with_others.value, effect.held_out.with_others.n) == (0.0, 1)
    assert (effect.held_out.gold.value, effect.shown.gold.n) == (1.0, 0)
    console = Console(record=True, width=100)
    print_stats(console, stats, with_gold=False)
    assert "held out" in console.export_text()
