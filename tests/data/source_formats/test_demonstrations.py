"""Rows of published demonstration datasets become these demonstrations and no others."""

import json
from pathlib import Path

import pytest

from rlhf.data.source_formats.formats import FORMATS
from tests.data.source_formats.published_rows import (
    convert_rows_of,
)
from tests.errors import raises


def test_sharegpt_has_system_prompts_tools_and_calls():
    """LLaMA-Factory's columns; a call and its result are turns of the assistant and the tool."""
    weather = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    row = {
        "conversations": [
            {"from": "human", "value": "Rain?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"at": "Bonn"}}'},
            {"from": "observation", "value": '{"rain": true}'},
            {"from": "gpt", "value": "Yes."},
        ],
        "system": "Be brief.",
        "tools": json.dumps([weather]),
    }
    call = {"type": "function", "function": {"name": "weather", "arguments": {"at": "Bonn"}}}
    assert FORMATS["sharegpt"].convert(row).rows == [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Rain?"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": '{"rain": true}'},
                {"role": "assistant", "content": "Yes."},
            ],
            "tools": [{"type": "function", "function": weather}],
        }
    ]


def test_sharegpt_pairs_and_thumbs(tmp_path: Path):
    prompt = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}]
    pair = {
        "conversations": prompt,
        "chosen": {"from": "gpt", "value": "Hello."},
        "rejected": {"from": "gpt", "value": "No."},
    }
    [row] = convert_rows_of(tmp_path, "sharegpt", pair).rows
    assert row == {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Hello."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    whole = [*prompt, {"from": "gpt", "value": "Hello."}]
    conversion = convert_rows_of(
        tmp_path,
        "sharegpt",
        {"conversations": whole, "kto_tag": True},
        {"conversations": whole, "kto_tag": False},
    )
    assert (len(conversion.rows), sum(conversion.left_out.values())) == (1, 1)


def test_thumb_up_keeps_how_its_response_ended(tmp_path: Path):
    """SFT trains on no end token after a response that was cut off."""
    thumb = {"prompt": "Hi", "completion": "Hel", "label": True, "annotator": "Ann"}
    [row] = convert_rows_of(tmp_path, "thumbs", {**thumb, "endings": ["length"]}).rows
    assert row == {"prompt": "Hi", "completion": "Hel", "endings": ["length"]}


def test_two_different_system_prompts_are_bad(tmp_path: Path):
    turns = [{"from": "system", "value": "Be kind."}, {"from": "gpt", "value": "Hello."}]
    with raises("bad-row", "in.jsonl:1", "system"):
        convert_rows_of(tmp_path, "sharegpt", {"conversations": turns, "system": "Be brief."})


def test_alpaca_rows_have_system_history_and_input(tmp_path: Path):
    row = {
        "instruction": "And her sister?",
        "input": "One word.",
        "output": "Kim.",
        "system": "Be brief.",
        "history": [["Who is Ada's friend?", "Jo."]],
    }
    conversion = convert_rows_of(
        tmp_path, "instruction", row, row | {"history": None, "input": None}
    )
    assert conversion.rows[0] == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Who is Ada's friend?"},
            {"role": "assistant", "content": "Jo."},
            {"role": "user", "content": "And her sister?\n\nOne word."},
            {"role": "assistant", "content": "Kim."},
        ]
    }
    assert conversion.rows[1] == {
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "And her sister?"},
        ],
        "completion": "Kim.",
    }
    pair = {"instruction": "Hi", "input": "", "chosen": "Hello.", "rejected": "No."}
    assert convert_rows_of(tmp_path, "instruction", pair).rows == [
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}
    ]


def test_dolly_and_openorca_rows_are_converted(tmp_path: Path):
    dolly = {"instruction": "Where?", "context": "In the hall.", "response": "Hall."}
    assert convert_rows_of(tmp_path, "instruction", dolly).rows == [
        {"prompt": "Where?\n\nIn the hall.", "completion": "Hall."}
    ]
    orca = {"id": "x", "system_prompt": "Be brief.", "question": "Hi?", "response": "Hello."}
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    assert convert_rows_of(
        tmp_path, "question_answer", orca, orca | {"system_prompt": ""}
    ).rows == [
        {"prompt": turns, "completion": "Hello."},
        {"prompt": "Hi?", "completion": "Hello."},
    ]


@pytest.mark.parametrize("context", ["In the hall.", ["In the", "hall."]])
def test_question_follows_its_passage(tmp_path: Path, context):
    conversion = convert_rows_of(
        tmp_path, "question_answer", {"question": "Where?", "context": context, "answer": "Hall."}
    )
    passage = "In the hall." if isinstance(context, str) else "In the\n\nhall."
    assert conversion.rows == [{"prompt": f"{passage}\n\nWhere?", "completion": "Hall."}]


@pytest.mark.parametrize(
    ("name", "row", "column"),
    [
        ("thumbs", {"prompt": "p", "completion": "c", "label": True, "system": "s"}, "system"),
        ("question_answer", {"question": "q", "answer": "B", "choices": ["a", "b"]}, "choices"),
        ("sharegpt", {"conversations": [], "images": ["a.png"]}, "images"),
        ("scored", {"prompt": "p", "responses": ["a"], "scores": [1], "history": "h"}, "history"),
    ],
)
def test_context_column_that_is_not_read_is_bad(tmp_path: Path, name, row, column):
    with raises("bad-row", "in.jsonl:1", column):
        convert_rows_of(tmp_path, name, row)
