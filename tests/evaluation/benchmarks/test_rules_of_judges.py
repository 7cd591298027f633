"""Rules of PPE, JudgeBench and LLMBar on few cases, worked out by hand."""

import pytest

from rlhf.evaluation.benchmarks import rules, shapes
from rlhf.evaluation.benchmarks.case import JudgedCase, judged_by_scores
from rlhf.evaluation.benchmarks.pairwise import judge_cases, order_decides
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, TIE

FILE = "Natural/dataset.json"


def table(rule, judged):
    return {(row.metric, row.subset): row.estimate for row in rule(judged, 0)}


def best_of_k(prompt, correct, scores, pairs):
    row = {
        "question_id": prompt,
        "prompt": prompt,
        "scores": correct,
        "sampled_conflict_pairs": pairs,
        **{f"response_{n + 1}": f"text {n}" for n in range(len(correct))},
    }
    case = shapes.ppe_correctness_row(row, "math_best_of_k.jsonl")
    by_text = dict(zip((f"text {n}" for n in range(len(scores))), scores, strict=True))
    return judged_by_scores(case, [by_text[text] for text in case.responses])


def test_best_of_k_compares_the_sampled_pairs_only():
    """Prompt a: pairs (0, 1) right, (2, 1) wrong; the highest score, of response 1, is correct.

    Prompt b: (0, 1) equal: a half; no other pair. Its two highest scores tie, one is correct."""
    judged = [
        best_of_k("a", [False, True, False], [0.0, 1.0, 2.0], [[0, 1], [2, 1]]),
        best_of_k("b", [True, False], [1.0, 1.0], [[0, 1]]),
        best_of_k("c", [False, False], [1.0, 2.0], []),
    ]
    result = table(rules.ppe_correctness, judged)
    assert result["accuracy", "math_best_of_k"].value == pytest.approx((1 + 0 + 0.5) / 3)
    assert result["score", None].value == pytest.approx(0.5)
    assert result["best_of_k", "math_best_of_k"].value == pytest.approx((0 + 0.5 + 0) / 3)
    assert result["oracle", "math_best_of_k"].value == pytest.approx(2 / 3)


def preference(prompt, winner, scores, **flags):
    row = {
        "question_id": prompt,
        "prompt": prompt,
        "response_1": "one",
        "response_2": "two",
        "winner": winner,
        "language": "English",
        **flags,
    }
    case = shapes.ppe_preference_row(row, FILE)
    if case is None:
        return []
    by_text = dict(zip(("one", "two"), scores, strict=True))
    return [judged_by_scores(case, [by_text[text] for text in case.responses])]


def test_preferences_leave_ties_of_people_out():
    judged = [
        *preference("a", "model_a", [1.0, 0.0], is_code=True),
        *preference("b", "model_b", [1.0, 0.0], is_code=True),
        *preference("c", "tie (bothbad)", [1.0, 0.0]),
        *preference("d", "model_b", [0.0, 1.0]),
    ]
    result = table(rules.ppe_preference, judged)
    assert len(judged) == 3
    assert result["score", None].value == pytest.approx(2 / 3)
    assert result["accuracy", "is_code"].value == 0.5
    assert result["accuracy", "English"].n == 3


def judgebench(prompt, label, scores=(), verdicts=None):
    row = {
        "pair_id": prompt,
        "question": prompt,
        "response_A": "one",
        "response_B": "two",
        "label": label,
        "source": "mmlu-pro-law",
    }
    case = shapes.judgebench_row(row, FILE)
    if verdicts is not None:
        return JudgedCase(case=case, verdicts={(0, 1): verdicts})
    by_text = dict(zip(("one", "two"), scores, strict=True))
    return judged_by_scores(case, [by_text[text] for text in case.responses])


def test_judgebench_gives_equal_scores_to_the_second_response():
    judged = [
        judgebench("a", "A>B", [1.0, 1.0]),
        judgebench("b", "B>A", [1.0, 1.0]),
        judgebench("c", "B>A", [0.0, 1.0]),
    ]
    assert table(rules.judgebench, judged)["score", None].value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("verdicts", "correct"),
    [
        ((FIRST, SECOND), 1.0),
        ((FIRST, TIE), 1.0),
        ((None, SECOND), 1.0),
        ((FIRST, FIRST), 0.0),
        ((TIE, TIE), 0.0),
        ((SECOND, TIE), 0.0),
        ((None, None), 0.0),
    ],
)
def test_judgebench_counts_a_majority_of_two_verdicts(verdicts, correct):
    judged = [judgebench(prompt, "A>B", verdicts=verdicts) for prompt in "ab"]
    result = table(rules.judgebench, judged)
    assert result["accuracy", "knowledge"].value == result["score", None].value == correct


def llmbar(prompt, label, subset, verdicts):
    row = {
        "input": prompt,
        "output_1": "one",
        "output_2": "two",
        "label": label,
        "subset": subset,
    }
    return JudgedCase(case=shapes.llmbar_row(row, FILE), verdicts={(0, 1): verdicts})


def test_llmbar_averages_orders_and_subsets():
    """Natural: (1 + ½)/2; Neighbor: a tie in one order is wrong there: ½ twice; Manual: 0."""
    judged = [
        llmbar("a", 1, "Natural", (FIRST, SECOND)),
        llmbar("b", 2, "Natural", (FIRST, FIRST)),
        llmbar("c", 1, "Neighbor", (FIRST, TIE)),
        llmbar("d", 2, "Neighbor", (None, SECOND)),
        llmbar("e", 2, "Manual", (SECOND, FIRST)),
        llmbar("f", 2, "Manual", (SECOND, FIRST)),
    ]
    result = table(rules.llmbar, judged)
    assert result["accuracy", "Natural"].value == 0.75
    assert result["accuracy", "Adversarial"].value == pytest.approx((0.5 + 0.0) / 2)
    assert result["score", None].value == pytest.approx((0.75 + 0.5 + 0.0) / 3)


def test_llmbar_subset_is_the_folder_of_the_file():
    row = {"input": "a", "output_1": "one", "output_2": "two", "label": 2}
    case = shapes.llmbar_row(row, "Dataset/LLMBar/Natural/dataset.json")
    assert (case.subset, case.responses) == ("Natural", ["two", "one"])


def test_judge_sees_both_orders_and_equal_texts_are_not_sent():
    """A judge that always prefers the response shown first is right in one order of two."""
    asked = []

    def first(pairs):
        asked.extend(pairs)
        return [FIRST] * len(pairs)

    rows = [("a", "good", "bad"), ("b", "same", "same")]
    cases = [
        shapes.rewardbench_row(
            {"prompt": prompt, "chosen": better, "rejected": worse, "subset": "hep-go"}, FILE
        )
        for prompt, better, worse in rows
    ]
    judged = judge_cases(cases, first)
    assert [(one.first, one.second) for one in asked] == [("good", "bad"), ("bad", "good")]
    assert [one.right((0, 1)) for one in judged] == [0.5, 0.5]
    assert order_decides(judged) == 0.5
