"""Accuracy by category and group, and rankings as distributions of votes."""

import math

import pytest

from rlhf.data.rows.parse_ranking import parse_ranking
from rlhf.evaluation.core.results import find
from rlhf.evaluation.reward_model.gate import judge_reward_model
from rlhf.evaluation.reward_model.metrics import reward_metrics
from rlhf.evaluation.reward_model.soft import soft_metrics, soft_pairs
from rlhf.report.verdict import gate_light
from tests.evaluation.reward_model.test_metrics import scored


def _rows(right, prompts=40, **more):
    """Pairs of which this share is ordered as the annotator did."""
    tag = "".join(map(str, more.values()))
    return [
        scored([1.0, 0.0] if i < right * prompts else [0.0, 1.0], [1, 2], f"{tag} {i}", **more)
        for i in range(prompts)
    ]


def test_row_names_its_category_and_group():
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    ranking = parse_ranking({**row, "category": 3, "annotator_group": "nurses"})
    assert (ranking.category, ranking.annotator_group) == ("3", "nurses")
    assert (parse_ranking(row).category, parse_ranking(row).annotator_group) == ("", "")


def test_accuracy_by_category_with_the_worst_in_the_verdict():
    """Code is ordered by chance, the others are right in 90% of the pairs."""
    rows = [
        *_rows(0.9, category="facts"),
        *_rows(0.5, category="code"),
        *_rows(0.9, category="maths"),
    ]
    results = reward_metrics(rows, "m")
    parts = {r.subset: r for r in results if r.metric == "accuracy" and r.subset}
    assert {name: round(r.value, 3) for name, r in parts.items()} == {
        "category code": 0.5, "category facts": 0.9, "category maths": 0.9,
    }  # fmt: skip
    assert parts["category code"].q < 0.01
    worst = find(results, "accuracy_worst_category", "m", subset="category code")
    assert worst.low < parts["category code"].low
    gate = judge_reward_model(results)
    assert gate.worst_part == "category code"
    assert gate.worst_accuracy.value == 0.5
    [reason] = [text for text in gate.reasons if "category code" in text]
    assert "q = " in reason
    light = gate_light({"verdict": "warn", "reasons": [], "accuracy": None,
                        "worst_part": gate.worst_part,
                        "worst_accuracy": vars(gate.worst_accuracy)})  # fmt: skip
    assert "lowest in category code: 0.50" in light.text


def test_equal_categories_are_no_reason_for_a_warning():
    rows = [*_rows(0.9, category="facts"), *_rows(0.85, category="code")]
    gate = judge_reward_model(reward_metrics(rows, "m"))
    assert gate.worst_part == "category code"
    assert not [text for text in gate.reasons if "category" in text]


def test_groups_and_annotators_are_compared_with_the_rest():
    """Rows without a group are part of the rest and have no accuracy of their own."""
    rows = [
        *_rows(0.9, annotator_group="nurses", annotator="Ann"),
        *_rows(0.3, annotator_group="cooks", annotator="Bob"),
        *_rows(0.8, annotator="Zoe"),
    ]
    results = reward_metrics(rows, "m")
    q = {r.subset: r.q for r in results if r.metric == "accuracy" and r.subset}
    assert set(q) == {"group nurses", "group cooks", "annotator Ann", "annotator Bob",
                      "annotator Zoe"}  # fmt: skip
    assert q["group cooks"] < 0.01
    assert q["annotator Bob"] < 0.01
    assert judge_reward_model(results).worst_part == "group cooks"


def test_rows_without_parts_have_none():
    results = reward_metrics(_rows(0.9), "m")
    assert not [r for r in results if r.subset or "worst" in r.metric]
    assert judge_reward_model(results).worst_part is None


def test_votes_of_several_annotators_are_distributions():
    """Three annotators prefer x, x and a tie at "p": 5/6; two disagree at "q": 1/2.

    KL(5/6 || 1/2) = log 2 - H(5/6), and KL(1/2 || 0.9) = log(0.5/0.3).
    """
    margin = math.log(9)
    rows = [
        scored([0.0, 0.0], [1, 2], "p", texts=["x", "y"], annotator="Ann"),
        scored([0.0, 0.0], [2, 1], "p", texts=["y", "x"], annotator="Bob"),
        scored([0.0, 0.0], [1, 1], "p", texts=["x", "y"], annotator="Cid"),
        scored([0.0, 0.0], [2, 1], "p", texts=["x", "y"], annotator="Ann"),  # a second label
        scored([margin, 0.0], [1, 2], "q", texts=["x", "y"], annotator="Ann"),
        scored([margin, 0.0], [2, 1], "q", texts=["x", "y"], annotator="Bob"),
        scored([0.0, 0.0], [2, 1], "r", texts=["x", "y"], annotator="Bob"),
    ]
    assert [pair.share for pair in soft_pairs(rows)] == [5 / 6, 0.5]
    results = soft_metrics(rows, "m", are_logits=True)
    votes = {r.axis: r.value for r in results if r.metric == "vote_distribution"}
    assert votes == {"unanimous": 0.0, "majority": 0.5, "split": 0.5}
    entropy = -(5 / 6 * math.log(5 / 6) + 1 / 6 * math.log(1 / 6))
    expected = (math.log(2) - entropy + math.log(0.5 / 0.3)) / 2
    assert find(results, "soft_kl", "m").value == pytest.approx(expected)
    assert not [r for r in soft_metrics(rows, "m", are_logits=False) if r.metric == "soft_kl"]
    assert soft_metrics(rows[:1], "m", are_logits=True) == []
