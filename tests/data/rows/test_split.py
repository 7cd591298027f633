"""No prompt is on both sides of a split, however often and in whichever spelling it occurs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.rows.leakage import leaked_prompts
from rlhf.data.rows.load import load_demonstrations
from rlhf.data.rows.split import group_key, prompt_key, split_by_prompt
from rlhf.types import Demonstration, Ranking


def rows(prompts: list[str]) -> list[Demonstration]:
    return [Demonstration(prompt=p, completion=str(i)) for i, p in enumerate(prompts)]


@given(
    prompts=st.lists(st.sampled_from("abcdefghij"), max_size=40),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 5),
)
def test_sides_share_no_prompt_and_lose_no_row(prompts, fraction, seed):
    train, held_out = split_by_prompt(rows(prompts), fraction, seed)
    assert not {r.prompt for r in train} & {r.prompt for r in held_out}
    assert sorted(map(int, (r.completion for r in train + held_out))) == list(range(len(prompts)))
    assert train or not prompts


def test_fraction_counts_prompts_and_is_at_least_one():
    prompts = [f"question {i}" for i in range(100)] * 3
    train, held_out = split_by_prompt(rows(prompts), 0.1, 0)
    assert (len(train), len(held_out)) == (270, 30)
    assert len(split_by_prompt(rows(["a", "b"]), 0.01, 0)[1]) == 1
    assert split_by_prompt(rows(["a", "b"]), 0, 0)[1] == []


def test_texts_without_a_prompt_are_split_by_text():
    """30 rows of 10 texts with an empty prompt split as 10 prompts would."""
    texts = [Demonstration(prompt="", completion=f"text {i % 10}") for i in range(30)]
    train, held_out = split_by_prompt(texts, 0.2, 0)
    assert (len(train), len(held_out)) == (24, 6)
    assert not {row.completion for row in train} & {row.completion for row in held_out}


def test_group_key_ignores_the_order_of_responses():
    first = Ranking(prompt="", responses=["a", "b"], ranks=[1, 2], annotator="x")
    second = Ranking(prompt="", responses=["b", "a"], ranks=[1, 2], annotator="y")
    assert group_key(first) == group_key(second)


def test_split_depends_on_seed_and_words_not_on_order():
    prompts = [f"question {i}" for i in range(50)]
    held_out = {r.prompt for r in split_by_prompt(rows(prompts), 0.2, 7)[1]}
    assert {r.prompt for r in split_by_prompt(rows(prompts[::-1]), 0.2, 7)[1]} == held_out
    assert {r.prompt for r in split_by_prompt(rows(prompts), 0.2, 8)[1]} != held_out


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Where is Tom?", "  where is\ntom ", True),
        ("What is 2 + 3?", "What is 2 - 3?", False),
        ("Hi", [{"role": "user", "content": "hi!"}], True),
        (
            "Hi",
            [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}],
            False,
        ),
        ("?!", "...", False),
        ("a b", "ab", False),
    ],
)
def test_prompt_key_ignores_case_spacing_and_punctuation(one, other, same):
    assert (prompt_key(one) == prompt_key(other)) is same


def test_leaked_prompts_are_found_in_any_spelling():
    leakage = leaked_prompts(["Who?", "What?", "WHERE"], ["where?", "who"])
    assert (leakage.checked, leakage.leaked) == (3, [0, 2])


def test_split_keeps_the_order_of_rows(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"prompt": f"q{i}", "completion": str(i)}) for i in range(20)]
    path.write_text("\n".join(lines))
    train, held_out = split_by_prompt(load_demonstrations(str(path)).rows, 0.25, 0)
    for side in (train, held_out):
        order = [int(row.completion) for row in side]
        assert order == sorted(order)
