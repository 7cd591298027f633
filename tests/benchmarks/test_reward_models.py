"""The benchmark of reward models: poisoned labels, pairs and intervals, computed by hand."""

import runpy

import pytest

from rlhf.types import Ranking


@pytest.fixture(scope="module")
def script(root):
    return runpy.run_path(str(root / "benchmarks" / "reward_models.py"))


def make_rankings(count, ranks=(1, 2, 2)):
    return [
        Ranking(prompt=f"p{i}", responses=["a", "b", "c"], ranks=list(ranks), annotator="Ann")
        for i in range(count)
    ]


def test_interval_is_corrected_for_shared_rows(script):
    """0.6, 0.7, 0.8: s = 0.1, error √(1/3 + 1/4) * 0.1 = 0.076376, times 4.303 = 0.328646."""
    assert script["format_cell"]([0.6, 0.7, 0.8]) == "0.700 [0.371, 1.029]"
    assert script["format_cell"]([0.6]) == "0.600"


def test_poison_replaces_a_share_of_the_labels(script):
    """A fifth of 2,000 within 4 standard errors (0.036); the others are unchanged."""
    poisoned = script["poison_labels"](make_rankings(2000), "reversed:0.2", 0)
    by_x = [row for row in poisoned if row.annotator == "X"]
    assert len(by_x) / 2000 == pytest.approx(0.2, abs=0.036)
    assert {tuple(row.ranks) for row in by_x} == {(2, 1, 1)}
    assert {tuple(row.ranks) for row in poisoned if row.annotator == "Ann"} == {(1, 2, 2)}
    poisoned = script["poison_labels"](make_rankings(2000), "random:0.2", 0)
    first_ranks = [row.ranks[0] for row in poisoned if row.annotator == "X"]
    assert first_ranks.count(1) / len(first_ranks) == pytest.approx(1 / 3, abs=0.1)
    assert script["poison_labels"](make_rankings(3), None, 0) == make_rankings(3)


def test_one_pair_returns_an_ordered_pair(script):
    """Ranks 1, 2, 2: a-b or a-c, never the tie; a fully tied ranking has no pair."""
    pairs = script["one_pair"](make_rankings(50), 0)
    assert {tuple(row.responses) for row in pairs} == {("a", "b"), ("a", "c")}
    assert all(row.ranks == [1, 2] for row in pairs)
    assert script["one_pair"](make_rankings(2, ranks=(1, 1, 1)), 0) == []


def test_accuracy_leaves_ties_out(script):
    """a above b, b tied with c: pairs a-b and a-c; scores 1, 0, 2 order only the first."""
    assert script["accuracy"]([[1.0, 0.0, 2.0]], make_rankings(1)) == 0.5
