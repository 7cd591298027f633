"""Planted prompts are flagged and others are not."""

import json
import random

import pytest

from rlhf.evaluation.core.contamination import check_contamination, read_training_prompts
from rlhf.types import PromptRow

# Frequencies as in language (Zipf): few words make up most of a text.
WORDS = [f"w{i}" for i in range(3000)]
WEIGHTS = [1 / (i + 1) for i in range(3000)]


def _sentence(rng, length):
    return " ".join(rng.choices(WORDS, WEIGHTS, k=length)).capitalize() + "."


def _plant(rng, text, way):
    """The prompt in a form in which it could occur in the training data."""
    words = text.split()
    if way == 0:
        return text
    if way == 1:
        return text.upper().replace(".", " !")
    if way == 2:  # inside a longer one
        return f"{_sentence(rng, 10)} {text} {_sentence(rng, 10)}"
    if way == 3:  # a word changed in the middle
        return " ".join([*words[: len(words) // 2], "changed", *words[len(words) // 2 + 1 :]])
    return " ".join(words[:-2])  # the end cut off


@pytest.mark.parametrize("seed", range(5))
def test_planted_prompts_are_flagged_and_others_are_not(tmp_path, seed):
    """All 20 planted ones, and at most one of 200 others."""
    rng = random.Random(seed)
    held_out = [_sentence(rng, rng.randint(24, 60)) for _ in range(220)]
    planted = rng.sample(range(220), 20)
    training = [_sentence(rng, rng.randint(10, 80)) for _ in range(3000)]
    training += [_plant(rng, held_out[index], way % 5) for way, index in enumerate(planted)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in training))
    rows = [PromptRow(prompt=text) for text in held_out]
    flags = check_contamination(rows, [str(path)]).flags
    flagged = {index for index, flag in enumerate(flags) if flag}
    assert set(planted) <= flagged
    assert len(flagged - set(planted)) <= 1


def test_short_prompts_of_one_pattern_are_not_flagged(tmp_path):
    """They share all words but one; the prompt that differs in case only is flagged."""
    path = tmp_path / "train.jsonl"
    path.write_text('{"prompt": "Tell me a story about Ada and a duck."}\n')
    rows = [
        PromptRow(prompt=f"Tell me a story about Ada and a {word}.") for word in ("cat", "DUCK")
    ]
    [source] = check_contamination(rows, [str(path)]).sources
    assert (list(source.exact), list(source.overlapping)) == ([1], [])


def test_every_row_type_has_prompt_and_good_responses(tmp_path):
    rows = [
        {"prompt": "a", "completion": "A"},
        {"prompt": "b", "chosen": "B", "rejected": "x"},
        {"prompt": "c", "responses": ["x", "C"], "ranks": [2, 1]},
        {"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "D"}]},
        {"prompt": "e", "completion": "x", "label": False},
        {"prompt": "f"},
        {"text": "no prompt"},
        {"messages": ["not", "turns"]},
        {"messages": []},
        {"prompt": [{"role": "user"}]},
        {"prompt": "g", "responses": ["x", "y"], "ranks": [None, "first"]},
        {"prompt": "h", "chosen": [{"role": "assistant", "content": "H"}], "rejected": "x"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    responses = [list(row.responses) for row in read_training_prompts(str(path))]
    assert responses == [["A"], ["B"], ["C"], ["D"], [], [], [], ["H"]]


def test_weight_of_a_source_is_ignored(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "Name a bird."}\n{"prompt": "Name a tree."}\n')
    assert [row.prompt for row in read_training_prompts(f"0.5*{tmp_path}/a.jsonl")] == [
        "Name a bird.",
        "Name a tree.",
    ]
