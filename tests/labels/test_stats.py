"""Figures of agreement, by value and against the krippendorff package."""

import random
from dataclasses import fields

import pytest

from rlhf.labels.agreement import rank_alpha
from rlhf.labels.priorities import spread, unsure
from rlhf.labels.records import Candidate, Label
from rlhf.labels.stats import AnnotatorStats, Share, _concerns, label_stats
from rlhf.labels.store import LabelStore


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        yield store


def test_alpha_is_one_for_agreement_and_below_zero_for_reversal():
    assert rank_alpha({1: [(1, 2, 3), (1, 2, 3)], 2: [(3, 1, 2), (3, 1, 2)]}).value == 1.0
    assert rank_alpha({1: [(1, 2, 3), (3, 2, 1)]}).value < 0
    assert rank_alpha({1: [(1, 2, 3)]}).n == 0
    assert rank_alpha({1: [(1, 1), (1, 1)]}).n == 0  # nothing varies: not defined


def test_alpha_by_hand():
    """Two annotators, ranks (1, 2) and (2, 1): both units hold one 1 and one 2, so 4 values, two
    of each, all coincidences apart. Observed 4 d², expected 2 * 2 * 2 / 3 d² = 8/3 d²: 1 - 1.5."""
    assert rank_alpha({1: [(1, 2), (2, 1)]}).value == pytest.approx(-0.5)


def test_alpha_equals_the_krippendorff_package():
    krippendorff = pytest.importorskip("krippendorff")
    draw = random.Random(3)
    items = {}
    for item in range(60):
        true = draw.sample(range(1, 5), 4)
        items[item] = [
            [max(1, min(4, rank + draw.choice((0, 0, 0, 1, -1)))) for rank in true]
            for _ in range(draw.choice((2, 3)))
        ]
    values = [
        [ranks[answer] for ranks in said] + [float("nan")] * (3 - len(said))
        for said in items.values()
        for answer in range(4)
    ]
    theirs = krippendorff.alpha(
        reliability_data=list(map(list, zip(*values, strict=True))),
        level_of_measurement="ordinal",
    )
    ours = rank_alpha(items)
    assert ours.value == pytest.approx(theirs, abs=1e-12)
    assert ours.low < ours.value < ours.high
    assert ours.n == 60


def test_alpha_takes_places_and_people_not_numbers_and_rows(store):
    """Ranks of elsewhere may be 1, 900, 900; who ranks an item twice is not two who agree."""
    store.add_candidates([Candidate(prompt="p", responses=("a", "b", "c"))])
    for name, ranks in (("ann", (1, 900, 900)), ("bob", (1, 2, 2)), ("bob", (2, 1, 3))):
        store.submit(Label(item_id=1, annotator=name, ranks=ranks, order_shown=(0, 1, 2)))
    expected = rank_alpha({1: [(1, 2, 2), (2, 1, 3)]})
    assert label_stats(store).alpha == expected


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Random ranks have alpha 0; of 60 sets of 40 items some 57 intervals hold it."""
    draw = random.Random(5)
    held = 0
    for seed in range(60):
        items = {item: [draw.sample(range(1, 5), 4) for _ in range(2)] for item in range(40)}
        alpha = rank_alpha(items, samples=200, seed=seed)
        held += alpha.low <= 0 <= alpha.high
    assert held >= 51


def say(store, item, who, ranks, purpose="label", order=(0, 1), seconds=10.0):
    store.submit(
        Label(
            item_id=item,
            annotator=who,
            ranks=ranks,
            order_shown=order,
            purpose=purpose,
            seconds=seconds,
        )
    )


def test_gold_repeats_matrix_and_speed(store):
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(4)])
    store.add_gold([Candidate(prompt="g", responses=("a", "b"))], [(2, 1)])
    for item in (1, 2, 3, 4):
        say(store, item, "ann", (1, 2))
        say(store, item, "bob", (1, 2) if item < 4 else (2, 1), seconds=1.0 if item == 1 else 10.0)
    say(store, 1, "ann", (2, 1), purpose="repeat")
    say(store, 2, "ann", (1, 2), purpose="repeat")
    say(store, 5, "ann", (2, 1), purpose="gold")
    say(store, 5, "bob", (1, 2), purpose="gold")
    stats = label_stats(store)
    ann, bob = stats.annotators
    assert stats.labels == 8  # checks are no labels
    assert stats.matrix["ann"]["bob"] == stats.matrix["bob"]["ann"] == Share(0.75, 4)
    assert (ann.gold_items, bob.gold_items) == (Share(1.0, 1), Share(0.0, 1))
    assert (ann.self_agreement, bob.self_agreement) == (Share(0.5, 2), Share(0.0, 0))
    assert (ann.too_fast, bob.too_fast) == (Share(0.0, 7), Share(0.2, 5))
    assert stats.concerns == []  # five labels are too few to speak of anybody


def test_who_always_takes_the_first_is_named_and_a_careful_one_is_not(store):
    """100 items; `first` takes what is shown first, 100 of 100 is 10 deviations from a half."""
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(100)])
    draw = random.Random(1)
    for item in range(1, 101):
        order = tuple(draw.sample((0, 1), 2))
        say(store, item, "first", (1, 2) if order == (0, 1) else (2, 1), order=order)
        say(store, item, "good", draw.choice(((1, 2), (2, 1))), order=order)
    [concern] = label_stats(store).concerns
    assert concern.annotator == "first"
    assert "shown first" in concern.reason


def test_who_takes_the_longer_more_often_than_others_is_named(store):
    """Of 100 pairs `long` takes the longer answer 90 times, the others 60 and 60 times: 0.90 and
    0.60 differ by 0.30, 5.3 deviations of sqrt(0.7 * 0.3 * (1/100 + 1/200)) = 0.056. For each
    other it is 0.60 against 0.75, 2.7 deviations, and not spoken of."""
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("longer", "b")) for i in range(100)])
    for item in range(1, 101):
        order = (0, 1) if item % 2 else (1, 0)
        for name, times in (("long", 90), ("ann", 60), ("bob", 60)):
            say(store, item, name, (1, 2) if item <= times else (2, 1), order=order)
    [concern] = label_stats(store).concerns
    assert concern.annotator == "long"
    assert "won by the longer answer, 0.60 (n=200) with others" in concern.reason


def test_priorities_are_high_where_models_are_unsure():
    """A margin of ln 3 is 3 to 1: 1 - |2 * 0.75 - 1| = 0.5."""
    assert unsure([2.0, 2.0, -5.0]) == 1.0
    assert unsure([1.0986123, 0.0]) == pytest.approx(0.5, abs=1e-6)
    assert spread([(1.0, 3.0), (11.0, 13.0)]) == 0.0  # they differ in their zero alone
    assert spread([(0.0, 2.0), (2.0, 0.0)]) == 1.0


def test_a_bias_that_only_many_labels_show_is_nobodys_fault():
    """Of 100,000 pairs 0.52 are won by the first: 12 deviations, and 1 pair in 50."""

    def concerns(share):
        nothing = Share(0.0, 0)
        one = AnnotatorStats(
            **{field.name: nothing for field in fields(AnnotatorStats)}
            | {
                "name": "Ann",
                "labels": 4_000,
                "seconds": None,
                "first_shown": Share(share, 100_000),
            }
        )
        return _concerns(one, [one])

    assert concerns(0.52) == []
    assert len(concerns(0.53)) == 1
