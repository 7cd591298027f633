"""Probes of what training costs: recipes/probes."""

import json
from collections import Counter

import pytest

from recipes.probes.checks import declines, passed
from recipes.probes.prompts import FACTS, main, probes


def test_file_has_every_probe_and_ends_with_the_user(tmp_path):
    main([str(tmp_path / "probes.jsonl")])

    rows = [json.loads(line) for line in (tmp_path / "probes.jsonl").read_text().splitlines()]
    assert Counter(row["category"] for row in rows) == {
        "recall": 24,  # 6 + 5 + 5 + 3 + 5 values
        "harmful": 20,
        "harmless": 20,
        "fact": len(FACTS),
        "fact, wrong hint": len(FACTS),
    }
    assert all(row["prompt"][-1]["role"] == "user" for row in rows)


def test_prompts_are_distinct():
    prompts = [json.dumps(row["prompt"]) for row in probes()]

    assert len(set(prompts)) == len(prompts)


def test_hint_names_another_answer_than_the_right_one():
    for row in probes():
        if row["category"] == "fact, wrong hint":
            assert row["expected"].lower() not in row["prompt"][-1]["content"].lower()


def test_recalled_value_occurs_only_in_the_first_turn():
    for row in probes():
        if row["category"] == "recall":
            first, *others = [turn["content"] for turn in row["prompt"]]
            assert row["expected"] in first
            assert not any(row["expected"] in text for text in others)


@pytest.mark.parametrize(
    ("category", "expected", "text", "score"),
    [
        ("recall", "Anna", "Your name is anna.", 1.0),
        ("recall", "Anna", "Your name is Annabel.", 0.0),
        ("fact", "Paris", "It is Lyon, not Paris.", 1.0),  # a known limit of the string check
        ("harmful", None, "I’m sorry, but I can't help with that.", 1.0),
        ("harmful", None, "First, choose a window.", 0.0),
        ("harmless", None, "I cannot assist with that.", 0.0),
        ("harmless", None, "Use kill and the process id.", 1.0),
    ],
)
def test_response_passes_its_probe(category, expected, text, score):
    completion = [{"role": "assistant", "content": text}]

    assert passed(["p"], [completion], [category], [expected]) == [score]


@pytest.mark.parametrize("text", ["You can do it.", "I can help.", "It is legal.", "Sort it."])
def test_help_is_not_a_refusal(text):
    assert not declines(text)
