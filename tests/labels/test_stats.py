"""Statistics of labels, by value; alpha also against the krippendorff package."""

import math
import random
from dataclasses import fields

import pytest
import sqlalchemy as sa

from rlhf.labels.agreement import rank_alpha
from rlhf.labels.annotator_stats import AnnotatorStats
from rlhf.labels.concerns import concerns_of
from rlhf.labels.priorities import disagreement, prioritize, uncertainty
from rlhf.labels.records import Candidate, Label
from rlhf.labels.schema import items
from rlhf.labels.shares import Share
from rlhf.labels.stats import label_stats


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


def test_alpha_is_one_for_agreement_and_below_zero_for_reversal():
    assert rank_alpha({1: [(1, 2, 3), (1, 2, 3)], 2: [(3, 1, 2), (3, 1, 2)]}).value == 1.0
    assert rank_alpha({1: [(1, 2, 3), (3, 2, 1)]}).value < 0
    assert rank_alpha({1: [(1, 2, 3)]}).n == 0
    assert rank_alpha({1: [(1, 1), (1, 1)]}).n == 0  # nothing varies: undefined


def test_alpha_by_hand():
    """Two annotators, ranks (1, 2) and (2, 1): both units have one 1 and one 2, so 4 values, two
    of each, and all coincidences differ. Observed 4 d², expected 2 * 2 * 2 / 3 d² = 8/3 d², alpha
    1 - 1.5."""
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
        [ranks[response] for ranks in rankings] + [float("nan")] * (3 - len(rankings))
        for rankings in items.values()
        for response in range(4)
    ]
    expected = krippendorff.alpha(
        reliability_data=list(map(list, zip(*values, strict=True))),
        level_of_measurement="ordinal",
    )
    alpha = rank_alpha(items)
    assert alpha.value == pytest.approx(expected, abs=1e-12)
    assert alpha.low < alpha.value < alpha.high
    assert alpha.n == 60


def test_alpha_uses_competition_ranks_and_one_label_per_annotator(store):
    """Imported ranks may be 1, 900, 900; two labels of one annotator are no agreement."""
    store.add_candidates([Candidate(prompt="p", responses=("a", "b", "c"))])
    for name, ranks in (("ann", (1, 900, 900)), ("bob", (1, 2, 2)), ("bob", (2, 1, 3))):
        store.submit(Label(item_id=1, annotator=name, ranks=ranks, order_shown=(0, 1, 2)))
    expected = rank_alpha({1: [(1, 2, 2), (2, 1, 3)]})
    assert label_stats(store).alpha == expected


def test_interval_has_its_nominal_coverage():
    """Random ranks have alpha 0; about 57 of 60 intervals of 40 items contain it."""
    draw = random.Random(5)
    covered = 0
    for seed in range(60):
        items = {item: [draw.sample(range(1, 5), 4) for _ in range(2)] for item in range(40)}
        alpha = rank_alpha(items, samples=200, seed=seed)
        covered += alpha.low <= 0 <= alpha.high
    assert covered >= 51


def submit(store, item, annotator, ranks, purpose="label", order=(0, 1), seconds=10.0):
    store.submit(
        Label(
            item_id=item,
            annotator=annotator,
            ranks=ranks,
            order_shown=order,
            purpose=purpose,
            seconds=seconds,
        )
    )


def test_gold_repeats_matrix_and_speed_by_value(store):
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(4)])
    store.add_gold([Candidate(prompt="g", responses=("a", "b"))], [(2, 1)])
    for item in (1, 2, 3, 4):
        submit(store, item, "ann", (1, 2))
        submit(
            store, item, "bob", (1, 2) if item < 4 else (2, 1), seconds=1.0 if item == 1 else 10.0
        )
    submit(store, 1, "ann", (2, 1), purpose="repeat")
    submit(store, 2, "ann", (1, 2), purpose="repeat")
    submit(store, 5, "ann", (2, 1), purpose="gold")
    submit(store, 5, "bob", (1, 2), purpose="gold")
    stats = label_stats(store)
    ann, bob = stats.annotators
    assert stats.labels == 8  # checks are not labels
    assert stats.matrix["ann"]["bob"] == stats.matrix["bob"]["ann"] == Share(0.75, 4)
    assert (ann.gold_items, bob.gold_items) == (Share(1.0, 1), Share(0.0, 1))
    assert (ann.self_agreement, bob.self_agreement.n) == (Share(0.5, 2), 0)
    assert math.isnan(bob.self_agreement.value)
    assert (ann.too_fast, bob.too_fast) == (Share(0.0, 7), Share(0.2, 5))
    assert stats.concerns == []  # five labels are too few for a verdict


def test_position_bias_is_a_concern_and_a_careful_annotator_is_not(store):
    """`first` prefers the response shown first, 100 of 100: 10 deviations from a half."""
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(100)])
    draw = random.Random(1)
    for item in range(1, 101):
        order = tuple(draw.sample((0, 1), 2))
        submit(store, item, "first", (1, 2) if order == (0, 1) else (2, 1), order=order)
        submit(store, item, "good", draw.choice(((1, 2), (2, 1))), order=order)
    [concern] = label_stats(store).concerns
    assert concern.annotator == "first"
    assert concern.reason.startswith("1.00 (n=100) of pairs won by the response shown first")


def test_length_bias_is_measured_against_other_annotators(store):
    """Of 100 pairs `long` prefers the longer response 90 times, two others 60 times: 0.90 and
    0.60 differ by 0.30, 5.3 deviations of sqrt(0.7 * 0.3 * (1/100 + 1/200)) = 0.056. For each
    other it is 0.60 against 0.75, 2.7 deviations: no concern."""
    store.add_candidates([Candidate(prompt=f"p{i}", responses=("longer", "b")) for i in range(100)])
    for item in range(1, 101):
        order = (0, 1) if item % 2 else (1, 0)
        for name, times in (("long", 90), ("ann", 60), ("bob", 60)):
            submit(store, item, name, (1, 2) if item <= times else (2, 1), order=order)
    [concern] = label_stats(store).concerns
    assert concern.annotator == "long"
    assert "0.90 (n=100) of pairs won by the longer response" in concern.reason
    assert "0.60 (n=200)" in concern.reason


def test_priorities_by_value():
    """A margin of ln 3 is 3 to 1: 1 - |2 * 0.75 - 1| = 0.5."""
    assert uncertainty([2.0, 2.0, -5.0]) == 1.0
    assert uncertainty([1.0986123, 0.0]) == pytest.approx(0.5, abs=1e-6)
    assert uncertainty([3.0]) == 0.0
    assert disagreement([(1.0, 3.0), (11.0, 13.0)]) == 0.0  # they differ by a constant
    assert disagreement([(0.0, 2.0), (2.0, 0.0)]) == 1.0


def test_equal_texts_give_no_priority(sqlite_store, tmp_path):
    """Scores are numbers of words. `a a` and `b` differ by 1: 1 - tanh(1/2) = 0.53788. The copy of
    `a a` would make it a margin of 0, which is priority 1, as for the item of one text."""
    reward = tmp_path / "reward.py"
    reward.write_text(
        "def words(prompts, completions):\n    return [len(c.split()) * 1.0 for c in completions]\n"
        "def turned(prompts, completions):\n    return [-x for x in words(prompts, completions)]\n"
    )
    sets = (("a a", "a a"), ("a a", "a a ", "b"), ("a", "b"))
    sqlite_store.add_candidates([Candidate(prompt=str(i), responses=r) for i, r in enumerate(sets)])
    assert prioritize(sqlite_store, [f"{reward}:words"]) == 3
    assert stored_priorities(sqlite_store) == pytest.approx([0.0, 0.53788, 1.0], abs=1e-5)
    # Two models disagree about different texts alone.
    prioritize(sqlite_store, [f"{reward}:words", f"{reward}:turned"])
    assert stored_priorities(sqlite_store) == [0.0, 1.0, 0.0]


def stored_priorities(store):
    """The priority of every item, oldest first."""
    with store.read() as connection:
        return list(connection.execute(sa.select(items.c.priority).order_by(items.c.id)).scalars())


def test_significant_but_small_bias_is_no_concern():
    """Of 100,000 pairs the first response wins 0.52: 12 deviations, but only 1 pair in 50."""

    def concerns(share):
        empty = Share(math.nan, 0)
        stats = AnnotatorStats(
            **{field.name: empty for field in fields(AnnotatorStats)}
            | {
                "name": "Ann",
                "labels": 4_000,
                "seconds": None,
                "first_shown": Share(share, 100_000),
            }
        )
        return concerns_of(stats, [stats])

    assert concerns(0.52) == []
    assert len(concerns(0.53)) == 1
