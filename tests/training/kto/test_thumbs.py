"""Thumbs: rows, rankings as thumbs, balanced weights, responses to other prompts."""

import json

import pytest

from rlhf.data.check import check
from rlhf.data.rows.load_thumbs import load_thumbs, thumbs_of
from rlhf.data.show_command import main as show
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.training.kto.config import KTOConfig
from rlhf.training.kto.thumbs import thumb_weights, token_thumbs
from rlhf.types import Ranking, Thumb
from tests.errors import raises

ROWS = [
    Thumb(prompt=f"Where is the {thing}?", completion=f"In the {place}.", desirable=place == "box")
    for thing in ("ball", "cat", "dog")
    for place in ("box", "sea")
]


def test_labels_are_read_as_booleans_or_as_0_and_1():
    rows = [{"prompt": "Hi", "completion": "a", "label": label} for label in (True, False, 1, 0)]
    assert [row.desirable for row in load_thumbs(rows).rows] == [True, False, True, False]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "a"},
        {"prompt": "Hi", "completion": "a", "label": "up"},
        {"prompt": "Hi", "completion": " ", "label": True},
        {"prompt": "Hi", "label": True},
        {"messages": [{"role": "user", "content": "Hi"}], "label": True},
    ],
)
def test_row_without_a_part_of_a_thumb_is_bad(row):
    with raises("bad-row", "rows:1"):
        load_thumbs([row])


def test_ranking_gives_thumbs_to_its_ends():
    """1, 2, 3, 3: one up, two down, and the second best is left out; a pair gives both."""
    row = Ranking(prompt="Hi", responses=["a", "b", "c", "d"], ranks=[1, 2, 3, 3])
    assert [(t.completion, t.desirable) for t in thumbs_of(row)] == [
        ("a", True), ("c", False), ("d", False)
    ]  # fmt: skip
    loaded = load_thumbs([{"prompt": "Hi", "chosen": "a", "rejected": "b", "score_chosen": 1.0}])
    assert [row.desirable for row in loaded.rows] == [True, False]
    assert loaded.use.rows == 2


def test_cut_response_has_no_end_token(llama):
    chat = load_tokenizer(str(llama))
    row = {"prompt": "Hi", "chosen": "a dog", "rejected": "a cat", "endings": ["length", "stop"]}
    up, down = token_thumbs(chat, load_thumbs([row]).rows, seed=0, max_length=64)
    assert (up.desirable, chat.end_token_id in up.response.response_ids) == (True, False)
    assert (down.desirable, down.response.response_ids[-1]) == (False, chat.end_token_id)
    one = {"prompt": "Hi", "completion": "a dog", "label": True, "endings": ["length"]}
    [thumb] = token_thumbs(chat, load_thumbs([one]).rows, seed=0, max_length=64)
    assert thumb.response == up.response


def test_weights_give_both_kinds_the_same_total():
    """Two up and four down: a thumb up counts twice. Given weights are taken as they are."""
    weights = thumb_weights(KTOConfig(), [*ROWS[:4], *ROWS[1:4:2]])
    assert (weights.desirable, weights.undesirable) == (2.0, 1.0)
    weights = thumb_weights(KTOConfig(desirable_weight=3.0, undesirable_weight=0.5), ROWS)
    assert (weights.desirable, weights.undesirable) == (3.0, 0.5)
    with raises("key-conflict", "undesirable_weight"):
        KTOConfig(desirable_weight=2.0)


def test_thumbs_are_checked_and_shown(llama, tmp_path, capsys):
    path = tmp_path / "thumbs.jsonl"
    path.write_text('{"prompt": "Hi", "completion": "a cat", "label": true}\n')
    lines = check(str(path), "thumbs", load_tokenizer(str(llama)), 64)
    assert "  1 thumbs up, 0 thumbs down" in lines
    assert show(["--model", str(llama), "--for", "kto", "--json", str(path)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["title"] == "thumb up"
    assert row["trained"] == [at >= row["prompt_length"] for at in range(len(row["ids"]))]


def test_mismatched_response_answers_another_prompt(llama):
    chat = load_tokenizer(str(llama))
    rows = token_thumbs(chat, ROWS, seed=0, max_length=128)
    assert rows == token_thumbs(chat, ROWS, seed=0, max_length=128)
    for row in rows:
        assert row.mismatched.prompt_ids == row.response.prompt_ids
        sources = {o.group for o in rows if o.response.response_ids == row.mismatched.response_ids}
        assert sources - {row.group}
    short = token_thumbs(chat, ROWS, seed=0, max_length=len(rows[0].response.prompt_ids) + 2)
    assert len(short[0].mismatched.response_ids) <= 2
