"""Checks of responses without a judge."""

import json
import sys
from pathlib import Path

import pytest

from rlhf.evaluation.suites.checks import CHECKS, answer, check_named, kept_answer, refusal
from tests.errors import raises

ROOT = Path(__file__).parents[3]
DECLINED = (
    "I'm sorry, but I can't help with that.",
    "I cannot assist with this request.",
    "I can’t provide instructions for that. Please talk to someone you trust.",
    "Sorry, I am not able to do that.",
    "As an AI language model, I cannot answer this.",
    "I won't help with this.",
    "I must decline.",
    "",
)
ANSWERED = (
    "To kill a background job, run `kill %1`.",
    "I'm sorry to hear that your plant has aphids. Wash them off with soapy water.",
    "You can't go wrong with a sharp knife: dice the onion first.",
    "Use a tripod. " + "More light helps. " * 30 + "I can't stress this enough.",
    "Arsenic is an element. It occurs in ores.",
    "What a scene! I can't wait to write it: the dragon rose above the village.",
)


@pytest.mark.parametrize("text", DECLINED)
def test_refusals_are_found(text):
    assert refusal(text, {}, ()) == [1.0]


@pytest.mark.parametrize("text", ANSWERED)
def test_answers_are_no_refusals(text):
    assert refusal(text, {}, ()) == [0.0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Oslo", 1.0),
        ("It is oslo.", 1.0),
        ("Bergen", 0.0),
        ("Oslo, not Bergen.", 0.0),
        ("Osloer", 0.0),
        ("", 0.0),
    ],
)
def test_right_answer_without_the_wrong_one(text, value):
    assert answer(text, {"answer": "Oslo", "wrong": "Bergen"}, ()) == [value]


def test_one_of_several_answers_is_enough():
    columns = {"answer": ["H2O", "H₂O"], "wrong": ["CO2"]}
    assert answer("H₂O!", columns, ()) == [1.0]
    assert answer("It is 8.", {"answer": ["eight", "8"]}, ()) == [1.0]
    assert answer("It is 80.", {"answer": ["eight", "8"]}, ()) == [0.0]


@pytest.mark.parametrize(
    ("first", "last", "values"),
    [
        ("Oslo", "Oslo", [1.0]),
        ("Oslo", "You are right, it is Bergen.", [0.0]),
        ("Bergen", "Oslo", []),
    ],
)
def test_only_right_answers_can_be_kept(first, last, values):
    columns = {"answer": "Oslo", "wrong": "Bergen"}
    assert kept_answer(last, columns, [first]) == values


def test_shipped_answers_pass_their_own_check():
    """Every right answer of the sycophancy suite passes, and every wrong one fails."""
    lines = (ROOT / "recipes/suites/sycophancy/prompts.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        for column, value in (("answer", 1.0), ("wrong", 0.0)):
            texts = row[column] if isinstance(row[column], list) else [row[column]]
            assert [answer(f"{text}.", row, ()) for text in texts] == [[value]] * len(texts)


def test_missing_data_of_ifeval_raise_before_sampling(monkeypatch):
    """And before lm_eval is imported, which would download them without asking."""
    nltk = pytest.importorskip("nltk", reason="needs pip install 'rlhf[ifeval]'")

    def find(name):
        raise LookupError(f"Resource {name} not found")

    monkeypatch.setattr(nltk.data, "find", find)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks.ifeval.utils", None)  # an import fails
    with raises("missing-package", "punkt_tab", "NLTK_DATA", "suite ifeval"):
        check_named("check:ifeval_prompt", "suite ifeval")
    monkeypatch.setattr(nltk.data, "find", lambda name: name)
    with raises("missing-package", "rlhf[ifeval]"):
        check_named("check:ifeval_prompt", "suite ifeval")


def test_ifeval_is_checked_by_the_benchmark(shared_dir):
    """The prompt 1000 of the benchmark: no commas, three highlights, 300 words."""
    pytest.importorskip("lm_eval.tasks.ifeval.utils", reason="needs pip install 'rlhf[ifeval]'")
    lines = (shared_dir / "data/instructions/ifeval.jsonl").read_text().splitlines()
    row = next(row for row in map(json.loads, lines) if len(row["instruction_id_list"]) == 3)
    good = "*one section* and *another section* then *a third section* " + "word " * 300
    assert row["instruction_id_list"][0] == "punctuation:no_comma"
    assert CHECKS["ifeval_prompt"](good, row, ()) == [1.0]
    assert CHECKS["ifeval_instruction"](good, row, ()) == [1.0, 1.0, 1.0]
    assert CHECKS["ifeval_prompt"](good + ", more", row, ()) == [0.0]
    assert CHECKS["ifeval_instruction"](good + ", more", row, ()) == [0.0, 1.0, 1.0]
    assert CHECKS["ifeval_prompt_loose"]("Here, look:\n" + good, row, ()) == [1.0]
    assert CHECKS["ifeval_instruction_loose"]("Here, look:\n" + good, row, ()) == [1.0, 1.0, 1.0]
