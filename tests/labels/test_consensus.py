"""One ranking of several, by value."""

import math

import numpy as np
import pytest

from rlhf.data.rows.load import load_rankings
from rlhf.labels.consensus import agreement_weights, consensus, jeffreys
from rlhf.labels.consensus_rows import ConsensusOptions
from rlhf.labels.dawid_skene import Votes, dawid_skene
from rlhf.labels.export import export, rows_of
from rlhf.labels.records import Candidate, Label, StoredLabel
from tests.errors import raises


def labels(*rankings, item=1):
    names = ("ann", "bob", "cat", "dan", "eve")
    return [
        StoredLabel(event_id=number, at=0.0, item_id=item, annotator=name, ranks=ranks)
        for number, (name, ranks) in enumerate(zip(names, rankings, strict=False), 1)
    ]


def agreed(method, *rankings, **options):
    [one] = consensus({1: labels(*rankings)}, method, **options)
    return one


def test_majority_and_mean_rank_differ_by_value():
    """Two of three put the first above the second, all put the second above the third. The mean
    ranks are 5/3, 5/3 and 8/3, so the mean ties the first two."""
    rankings = ((1, 2, 3), (1, 2, 3), (3, 1, 2))
    assert agreed("majority", *rankings).ranks == [1, 2, 3]
    assert agreed("mean_rank", *rankings).ranks == [1, 1, 3]
    shares = [pair.probability for pair in agreed("majority", *rankings).pairs]
    assert shares == pytest.approx([2 / 3, 2 / 3, 1.0])


def test_cycle_and_equal_votes_tie():
    assert agreed("majority", (1, 2, 3), (2, 3, 1), (3, 1, 2)).ranks == [1, 1, 1]
    assert agreed("majority", (1, 2), (2, 1)).ranks == [1, 1]
    assert agreed("majority", (1, 1), (1, 2)).ranks == [1, 2]  # 1.5 of 2 votes


def test_interval_of_votes_is_that_of_jeffreys():
    """Beta(½, ½) is the arcsine law, whose quantile is sin²(πp/2); a win makes it Beta(1½, ½).

    F(x) = (2/π)(asin √x - √(x(1 - x))) of Beta(1½, ½) is 0.025 at x = 0.1465.
    """
    low, high = jeffreys(1, 1)
    cdf = 2 / math.pi * (math.asin(math.sqrt(low)) - math.sqrt(low * (1 - low)))
    assert (cdf, high) == (pytest.approx(0.025), 1.0)
    assert jeffreys(0, 0) == (0.0, 1.0)
    [pair] = agreed("majority", (1, 2), (1, 2), (2, 1)).pairs
    assert pair.low < 2 / 3 < pair.high


def test_only_the_last_ordinary_label_of_an_annotator_counts():
    first = StoredLabel(event_id=1, at=0.0, item_id=1, annotator="ann", ranks=(2, 1))
    last = StoredLabel(event_id=2, at=0.0, item_id=1, annotator="ann", ranks=(1, 2))
    check = StoredLabel(
        event_id=3, at=0.0, item_id=1, annotator="bob", ranks=(2, 1), purpose="repeat"
    )
    [one] = consensus({1: [first, last, check]}, "majority")
    assert (one.ranks, one.annotators) == ([1, 2], 1)


def test_dawid_skene_by_value():
    """Two annotators agree on 8 pairs, a third always contradicts them. By symmetry the third's
    accuracy is 1 - p, so three votes of log odds L = log(p/(1-p)) add up, and the fixed point of
    q = σ(3 L), p = (8 q + 1) / 10 is q = 0.99858, p = 0.89886."""
    pair, annotator = np.divmod(np.arange(24), 3)
    sign = np.where(annotator == 2, -1.0, 1.0)
    fitted = dawid_skene(Votes(pair=pair, annotator=annotator, sign=sign), pairs=9, annotators=3)
    q = fitted.first_better[0]
    p = (8 * q + 1) / 10
    assert q == pytest.approx(1 / (1 + ((1 - p) / p) ** 3), abs=1e-6)
    assert q == pytest.approx(0.99858, abs=1e-5)
    assert fitted.accuracy == pytest.approx([0.89886, 0.89886, 0.10114], abs=1e-4)
    assert fitted.first_better[8] == 0.5  # a pair without a vote


def test_dawid_skene_finds_careless_annotators():
    """Of five annotators three are right in 90% of 400 pairs and two decide at random: their vote
    against a good one hardly counts, which a majority cannot know."""
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.5
    by_item = {}
    for item in range(400):
        right = rng.random(5) < (0.9, 0.9, 0.9, 0.5, 0.5)
        ranks = [(1, 2) if good == truth[item] else (2, 1) for good in right]
        by_item[item] = labels(*ranks, item=item)
    accuracy = {
        method: np.mean(
            [
                (one.ranks[0] < one.ranks[1]) == truth[one.item_id]
                for one in consensus(by_item, method)
            ]
        )
        for method in ("majority", "dawid_skene")
    }
    assert accuracy["dawid_skene"] >= accuracy["majority"] + 0.02
    pairs = [one.pairs[0] for one in consensus(by_item, "dawid_skene")]
    assert all(pair.low <= pair.probability <= pair.high for pair in pairs)
    # Calibration: of the pairs with a probability of about 0.95, about 95% are right.
    sure = [
        (max(pair.probability, 1 - pair.probability), (pair.probability > 0.5) == truth[item])
        for item, pair in enumerate(pairs)
    ]
    claimed, right = np.mean([p for p, _ in sure]), np.mean([ok for _, ok in sure])
    assert claimed == pytest.approx(right, abs=0.03)


def test_reward_model_weighs_annotators():
    """Ann agrees with the scores on 3 of 3 pairs, log odds log(4/1); Bob on none: no weight."""
    by_item = {1: labels((1, 2, 3), (3, 2, 1))}
    scores = {1: (3.0, 2.0, 1.0)}
    assert agreement_weights(by_item, scores) == {"ann": pytest.approx(math.log(4)), "bob": 0.0}
    [one] = consensus(by_item, "reward_weighted", scores=scores)
    assert one.ranks == [1, 2, 3]
    assert agreed("majority", (1, 2, 3), (3, 2, 1)).ranks == [1, 1, 1]


def test_unknown_method_and_missing_model_raise():
    with raises("bad-value", "mode"):
        consensus({}, "mode")
    with raises("missing-key", "reward_weighted"):
        consensus({}, "reward_weighted")


@pytest.fixture
def store(sqlite_store):
    sqlite_store.add_candidates([Candidate(prompt="p", responses=("a", "b", "c"))])
    for name, ranks in (("ann", (1, 2, 3)), ("bob", (1, 2, 3)), ("cat", (3, 1, 2))):
        sqlite_store.submit(Label(item_id=1, annotator=name, ranks=ranks, strength=2.0))
    return sqlite_store


def test_exported_consensus_loads_for_training_with_its_intervals(store, tmp_path):
    options = ConsensusOptions(method="majority")
    [row] = export(store, tmp_path / "r.jsonl", "rankings", options).rows
    assert (row["ranks"], row["annotators"], row["strength"]) == ([1, 2, 3], 3, 2.0)
    first, second, probability, low, high = row["pair_probabilities"][0]
    assert (first, second, probability) == (0, 1, pytest.approx(2 / 3))
    assert 0 < low < probability < high < 1
    assert load_rankings(str(tmp_path / "r.jsonl")).rows[0].ranks == [1, 2, 3]
    pairs = export(store, tmp_path / "p.jsonl", "pairs", options).rows
    assert [(row["chosen"], row["rejected"]) for row in pairs] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    assert len(load_rankings(str(tmp_path / "p.jsonl")).rows) == 3
    with raises("key-conflict", "events"):
        rows_of(store, "events", options)


def test_exported_consensus_has_the_probabilities_that_a_reward_model_reads(store, tmp_path):
    """Ann and Bob rank a, b, c, Cat b, c, a: two of three prefer a to b and a to c, all b to c."""
    options = ConsensusOptions(method="majority")
    expected = [(0, 1, pytest.approx(2 / 3)), (0, 2, pytest.approx(2 / 3)), (1, 2, 1.0)]
    export(store, tmp_path / "r.jsonl", "rankings", options)
    column = {"probability_column": "pair_probabilities"}
    assert load_rankings(str(tmp_path / "r.jsonl"), **column).rows[0].probabilities == expected
    export(store, tmp_path / "p.jsonl", "pairs", options)
    pairs = load_rankings(str(tmp_path / "p.jsonl"), probability_column="probability").rows
    assert [row.probabilities[0][2] for row in pairs] == [each[2] for each in expected]


def test_pairs_of_a_consensus_have_the_models_and_columns_of_their_item(sqlite_store):
    """As the pairs of labels do; the model of `chosen` is the first."""
    columns = {"category": "sums", "low": "not an interval"}
    candidate = Candidate(prompt="p", responses=("a", "b"), models=("m", "n"), columns=columns)
    sqlite_store.add_candidates([candidate])
    sqlite_store.submit(Label(item_id=1, annotator="ann", ranks=(2, 1)))
    [one] = rows_of(sqlite_store, "pairs").rows
    [agreed] = rows_of(sqlite_store, "pairs", ConsensusOptions(method="majority")).rows
    assert (one["models"], one["category"]) == (["n", "m"], "sums")
    assert (agreed["models"], agreed["category"]) == (["n", "m"], "sums")
    assert agreed["low"] < agreed["probability"] == 1.0


def test_pairs_state_the_probability_of_the_chosen_response(sqlite_store):
    sqlite_store.add_candidates([Candidate(prompt="p", responses=("a", "b"))])
    for name, ranks in (("ann", (2, 1)), ("bob", (2, 1)), ("cat", (1, 2))):
        sqlite_store.submit(Label(item_id=1, annotator=name, ranks=ranks))
    [row] = rows_of(sqlite_store, "pairs", ConsensusOptions(method="majority")).rows
    assert (row["chosen"], row["probability"]) == ("b", pytest.approx(2 / 3))
    assert row["low"] < 2 / 3 < row["high"]
