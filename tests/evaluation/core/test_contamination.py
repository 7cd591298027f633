"""Planted leaks are found, and strangers are left in peace."""

import json
import random

import pytest

from rlhf.evaluation.core.contamination import contamination, flagged, seen_rows
from rlhf.types import PromptRow

# Words as often as in language: few of them make up most of a text (Zipf).
WORDS = [f"w{i}" for i in range(3000)]
WEIGHTS = [1 / (i + 1) for i in range(3000)]


def _sentence(rng, length):
    return " ".join(rng.choices(WORDS, WEIGHTS, k=length)).capitalize() + "."


def _plant(rng, text, way):
    """The prompt as it might have come into the training data."""
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
def test_twenty_planted_leaks_are_found_and_at_most_one_of_two_hundred_falsely(tmp_path, seed):
    rng = random.Random(seed)
    held_out = [_sentence(rng, rng.randint(24, 60)) for _ in range(220)]
    planted = rng.sample(range(220), 20)
    training = [_sentence(rng, rng.randint(10, 80)) for _ in range(3000)]
    training += [_plant(rng, held_out[index], way % 5) for way, index in enumerate(planted)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in training))
    rows = [PromptRow(prompt=text) for text in held_out]
    marks = flagged(contamination(rows, [str(path)]), len(rows))
    found = {index for index, mark in enumerate(marks) if mark}
    assert set(planted) <= found
    assert len(found - set(planted)) <= 1


def test_sentences_of_one_pattern_are_no_leaks(tmp_path):
    """Short prompts share all words but one, and are other prompts for that one."""
    path = tmp_path / "train.jsonl"
    path.write_text('{"prompt": "Tell me a story about Ada and a duck."}\n')
    rows = [
        PromptRow(prompt=f"Tell me a story about Ada and a {word}.") for word in ("cat", "DUCK")
    ]
    [found] = contamination(rows, [str(path)])
    assert (list(found.exact), list(found.overlapping)) == ([1], [])


def test_every_row_type_is_read_for_its_prompt_and_its_good_answers(tmp_path):
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
    answers = [list(seen.answers) for seen in seen_rows(str(path))]
    assert answers == [["A"], ["B"], ["C"], ["D"], [], [], [], ["H"]]


def test_a_weighted_source_counts_with_all_its_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "Name a bird."}\n{"prompt": "Name a tree."}\n')
    assert [seen.prompt for seen in seen_rows(f"0.5*{tmp_path}/a.jsonl")] == [
        "Name a bird.",
        "Name a tree.",
    ]
