"""What the benchmark of reward models does to rankings, and its intervals, by hand."""

import runpy

import pytest

from rlhf.types import Ranking


@pytest.fixture(scope="module")
def script(root):
    return runpy.run_path(str(root / "benchmarks" / "reward_models.py"))


def rows(count, ranks=(1, 2, 2)):
    return [
        Ranking(prompt=f"p{i}", responses=["a", "b", "c"], ranks=list(ranks), annotator="Ann")
        for i in range(count)
    ]


def test_interval_counts_that_splits_share_rows(script):
    """0.6, 0.7, 0.8: s = 0.1, error √(1/3 + 1/4) * 0.1 = 0.076376, times 4.303 = 0.328646."""
    assert script["cell"]([0.6, 0.7, 0.8]) == "0.700 [0.371, 1.029]"
    assert script["cell"]([0.6]) == "0.600"


def test_poison_replaces_a_share_of_the_labels(script):
    """A fifth of 2,000 within 4 standard errors (0.036); the others stay as they are."""
    turned = script["poisoned"](rows(2000), "reversed:0.2", 0)
    theirs = [row for row in turned if row.annotator == "X"]
    assert len(theirs) / 2000 == pytest.approx(0.2, abs=0.036)
    assert {tuple(row.ranks) for row in theirs} == {(2, 1, 1)}
    assert {tuple(row.ranks) for row in turned if row.annotator == "Ann"} == {(1, 2, 2)}
    clicked = [r for r in script["poisoned"](rows(2000), "random:0.2", 0) if r.annotator == "X"]
    assert sum(row.ranks[0] == 1 for row in clicked) / len(clicked) == pytest.approx(1 / 3, abs=0.1)
    assert script["poisoned"](rows(3), None, 0) == rows(3)


def test_one_pair_is_an_ordered_one(script):
    """Ranks 1, 2, 2: a-b or a-c, never the tie; a ranking without an order has none."""
    found = script["one_pair"](rows(50), 0)
    assert {tuple(row.responses) for row in found} == {("a", "b"), ("a", "c")}
    assert all(row.ranks == [1, 2] for row in found)
    assert script["one_pair"](rows(2, ranks=(1, 1, 1)), 0) == []


def test_accuracy_leaves_ties_out(script):
    """a above b, b tied with c: pairs a-b and a-c; scores 1, 0, 2 order the first."""
    assert script["accuracy"]([[1.0, 0.0, 2.0]], rows(1)) == 0.5
