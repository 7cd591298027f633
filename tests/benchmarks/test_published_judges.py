"""Published verdicts and scores of LLMBar and JudgeBench, on rows made by hand."""

import json

import pytest

from benchmarks.published_judges import judgebench_tables, llmbar_tables


def llmbar_result(label, *winners):
    """A row whose judge names these outputs, with the first output shown first and second."""
    verdicts = zip(("swap = False", "swap = True"), winners, strict=True)
    return {
        "input": f"{label} {winners}",
        "output_1": "a",
        "output_2": "b",
        "label": label,
        "results": [{}, {order: {"winner": winner} for order, winner in verdicts}],
    }


def test_verdicts_of_llmbar_count_outputs_whatever_was_shown_first(tmp_path):
    """1, ½ and 0 of the verdicts are right, and a missing one is wrong: 1.5 + 0.5 of four."""
    rows = [
        llmbar_result("2", "2", "2"),
        llmbar_result("1", "1", "2"),
        llmbar_result("2", "1", "1"),
        llmbar_result("1", None, "1"),
    ]
    folder = tmp_path / "Dataset/LLMBar/Natural/evaluators/J/Vanilla"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(rows))
    (folder / "statistics.json").write_text(json.dumps({"correct_average": "50.0%"}))
    [(name, published, ours)] = llmbar_tables(tmp_path)
    assert name.endswith("J/Vanilla")
    assert published == ours.value == 0.5


def judgebench_pair(number, label, judgments, judge):
    return {
        "pair_id": str(number),
        "source": "mmlu-pro-law",
        "question": f"q{number}",
        "response_A": "a",
        "response_B": "b",
        "label": label,
        "judge_name": judge,
        "judgments": judgments,
    }


def write_pairs(clone, model, rows):
    (clone / "outputs").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (clone / "outputs" / f"dataset=judgebench,judge_model={model}.jsonl").write_text(text)


def test_decisions_of_judgebench_equal_those_of_the_rule(tmp_path):
    """The scores order the first pair right and tie at the second, where the second response wins.

    The judge is right and undecided, then of two minds, then wrong twice: 1 of 3.
    """
    scored = [
        judgebench_pair(
            number, label, [{"judgment": {"scores": scores}, "decision": decision}] * 2,
            "reward_model",
        )
        for number, (label, scores, decision) in enumerate(
            [("A>B", [2.0, 1.0], "A>B"), ("B>A", [1.0, 1.0], "B>A"), ("A>B", [1.0, 1.0], "B>A")]
        )
    ]  # fmt: skip
    write_pairs(tmp_path, "rm", scored)
    judged = [
        judgebench_pair(
            number, label, [{"judgment": {}, "decision": each} for each in decisions], "arena_hard"
        )
        for number, (label, *decisions) in enumerate(
            [("B>A", "B>A", "A=B"), ("A>B", "A>B", "A>B"), ("A>B", "B>A", "A>B")]
        )
    ]
    write_pairs(tmp_path, "judge", judged)
    (judge, decided, ours), (model, of_scores, by_scores) = judgebench_tables(tmp_path)
    assert (judge, model) == ("judge", "rm")
    assert decided == ours.value == pytest.approx(1 / 3)
    assert of_scores == by_scores.value == pytest.approx(2 / 3)
