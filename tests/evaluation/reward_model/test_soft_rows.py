"""The report on held-out rows that say how people split: shares of people in place of winners."""

import math
from dataclasses import replace

import pytest

from rlhf.evaluation.core.results import find
from rlhf.evaluation.reward_model.best_of_n import best_of_n
from rlhf.evaluation.reward_model.calibration import reliability
from rlhf.evaluation.reward_model.config import ReportConfig, check_report
from rlhf.evaluation.reward_model.metrics import reward_metrics
from rlhf.evaluation.reward_model.soft import soft_pairs
from tests.errors import raises
from tests.evaluation.reward_model.test_metrics import scored

D = math.log(4)  # σ(D) = 0.8


def soft(scores, ranks, prompt, probabilities, **more):
    one = scored(scores, ranks, prompt, **more)
    return replace(one, ranking=replace(one.ranking, probabilities=probabilities))


ROWS = [
    soft([D, 0.0], [1, 2], "p", [(0, 1, 0.7)]),
    soft([0.0, D], [1, 2], "q", [(0, 1, 0.9)]),
    soft([0.0, D], [1, 1], "r", [(0, 1, 0.5)]),
]


def test_pairs_count_with_the_share_of_people():
    """The model prefers what 70%, 10% and 50% prefer: accuracy (0.7 + 0.1 + 0.5)/3.

    Its confidence is 0.8 each time, so the calibration error is 0.8 - 1.3/3. The loss of the three
    pairs is -p log 0.8 - (1 - p) log 0.2 with these p.
    """
    results = reward_metrics(ROWS, "m")
    assert find(results, "accuracy", "m").value == pytest.approx(1.3 / 3)
    assert find(results, "ece", "m").value == pytest.approx(0.8 - 1.3 / 3)
    losses = [-p * math.log(0.8) - (1 - p) * math.log(0.2) for p in (0.7, 0.1, 0.5)]
    assert find(results, "held_out_loss", "m").value == pytest.approx(sum(losses) / 3)
    [only] = reliability(ROWS)
    assert (only.confidence, only.accuracy) == (pytest.approx(0.8), pytest.approx(1.3 / 3))
    assert find(results, "ece_by_chance", "m") is None
    votes = {r.axis: r.value for r in results if r.metric == "vote_distribution"}
    assert votes == pytest.approx({"unanimous": 0.0, "majority": 2 / 3, "split": 1 / 3})
    assert [pair.share for pair in soft_pairs(ROWS)] == [0.7, 0.9, 0.5]
    divergence = sum(
        p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        for p, q in ((0.7, 0.8), (0.9, 0.2), (0.5, 0.2))
    )
    assert find(results, "soft_kl", "m").value == pytest.approx(divergence / 3)


def test_probabilities_give_the_accuracy_of_their_annotators():
    """Ten annotators of each prompt, seven and six of whom prefer the first response."""
    rows, single = [], []
    for prompt, share, scores in (("p", 0.7, [1.0, 0.0]), ("q", 0.6, [0.0, 1.0])):
        rows.append(soft(scores, [1, 2], prompt, [(0, 1, share)]))
        single += [
            scored(scores, [1, 2] if i < 10 * share - 1e-9 else [2, 1], prompt, annotator=f"A{i}")
            for i in range(10)
        ]
    ours, theirs = (reward_metrics(each, "m") for each in (rows, single))
    for metric in ("accuracy", "held_out_loss", "ece", "longer_wins"):
        value = find(theirs, metric, "m").value
        assert find(ours, metric, "m").value == pytest.approx(value)


def test_even_split_belongs_to_no_gap_of_ranks():
    probabilities = [(0, 1, 0.5), (0, 2, 0.9), (1, 2, 0.9)]
    rows = [soft([3.0, 2.0, 1.0], [1, 1, 3], prompt, probabilities) for prompt in "pq"]
    results = reward_metrics(rows, "m")
    assert find(results, "accuracy", "m").value == pytest.approx((0.5 + 0.9 + 0.9) / 3)
    gaps = {r.subset: r.value for r in results if r.subset and r.subset.startswith("gap")}
    assert gaps == {"gap of 2 or 3 ranks": pytest.approx(0.9)}


def test_best_of_two_is_preferred_by_the_share_of_people():
    """The model takes what 70%, 10% and 50% of people prefer."""
    first, second = best_of_n(ROWS, mean=0.0, std=1.0)
    assert first.people == pytest.approx(0.5)
    assert second.people == pytest.approx(1.3 / 3)


def test_column_without_rankings_is_rejected():
    config = ReportConfig(
        reward_model="x", outcomes="file", output_dir="out", probability_column="p"
    )
    with raises("key-conflict", "probability_column"):
        check_report(config)
