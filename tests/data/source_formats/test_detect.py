"""`rlhf data convert` prints the format of a file, or an account of its conversion."""

import json
from pathlib import Path

import pytest

from rlhf.data.convert import main
from tests.data.source_formats.published_rows import (
    HH_PAIR,
    completion,
    helpsteer2_row,
    helpsteer3_row,
    rewardbench2_row,
    ultrafeedback_row,
)
from tests.errors import raises


def test_dropped_and_left_out_parts_are_printed(tmp_path: Path, capsys):
    path = tmp_path / "in.jsonl"
    rows = [
        helpsteer3_row(-3, None),
        helpsteer3_row() | {"response1": None},
        helpsteer3_row() | {"overall_preference": 9},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main([str(path), "--from", "helpsteer3", "--output", str(tmp_path / "o"), "--drop_bad_rows"])
    assert capsys.readouterr().out.splitlines() == [
        f"{path} (helpsteer3): 1 row in {tmp_path / 'o'}, 2 dropped",
        "  dropped: 1 x response1 is missing or not text",
        "  dropped: 1 x overall_preference is not a number from -3 to 3: '9'",
        "  left out: 1 x annotator without a score from -3 to 3",
        "  annotator1, annotator2, … are positions in a row, not the same annotators throughout",
    ]


ROW_OF_FORMAT = {
    "helpsteer2": helpsteer2_row("p", "a", 1),
    "helpsteer3": helpsteer3_row(-3),
    "ultrafeedback": ultrafeedback_row(completion("a", *"1111"), completion("b", *"1111")),
    "rewardbench2": rewardbench2_row("Ties", ["a"], ["b"], 1),
    "webgpt": {"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 0.0, "score_1": 0.0},
    "shp": {"history": "h", "human_ref_A": "a", "human_ref_B": "b", "labels": 1},
    "sharegpt": {"conversations": [{"from": "human", "value": "x"}]},
    "hh": HH_PAIR,
    "summeval": {"prompt": "p", "responses": ["a"], "scores": {"x": [1]}},
    "scored": {"prompt": "p", "responses": ["a"], "scores": [1]},
    "instruction": {"instruction": "i", "output": "o", "input": ""},
    "question_answer": {"question": "q", "answer": "a"},
    "thumbs": {"prompt": "p", "completion": "c", "label": False},
}


@pytest.mark.parametrize("name", ROW_OF_FORMAT)
def test_format_is_detected_from_the_first_row(tmp_path: Path, capsys, name: str):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(ROW_OF_FORMAT[name]) + "\n")
    main([str(path)])
    sentence, command = capsys.readouterr().out.splitlines()
    assert sentence.startswith(f"{path}: `{name}` fits its first 1 row: ")
    assert command == f"  rlhf data convert {path} --from {name} --output ROWS.jsonl"


def test_detection_of_several_formats_none_and_known_rows(tmp_path: Path, capsys):
    def detected(*rows: dict) -> str:
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        main([str(path)])
        return capsys.readouterr().out.replace(str(path), "FILE")

    both = detected({"text": "One two three four five six seven.", "label": 1})
    assert "several formats fit its first 1 row" in both
    assert "--from opening " in both
    assert "--from sentiment " in both
    assert detected({"a": 1}, {"b": 2}).startswith(
        "FILE: no known format fits its first 2 rows, which have the columns a, b."
    )
    assert "Columns that only reward functions read: response_0." in detected(
        {"prompt": "p", "response_0": "a"}
    )
    bad = {"chosen": HH_PAIR["chosen"], "rejected": None}
    assert "`hh` fits its first 2 rows" in detected(bad, HH_PAIR)
    assert detected({"prompt": "p", "completion": "c"}) == (
        "FILE: its rows are demonstrations, which recipes read directly.\n"
    )
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert "its rows are rankings, which recipes read directly" in detected(pair)
    assert "cannot read the first row: messages: roles user; the last" in detected(
        {"messages": [{"role": "user", "content": "q"}], "ground_truth": "a"}
    )
    scored = detected({**pair, "score_chosen": 8.5, "score_rejected": 3.0})
    assert "its rows are rankings, which recipes read directly" in scored
    assert "strength, or ignore" in scored
    assert "They have the columns of `scored`, but do not fit it: scores" in detected(
        {"prompt": "p", "responses": ["a", "b"], "scores": ["high", "low"]}
    )
    assert "prm800k, which cannot be converted: it labels the steps" in detected(
        {"labeler": "x", "question": {"problem": "p"}, "label": {"steps": []}}
    )
    assert "each row is one message of a tree" in detected(
        {"message_id": "1", "parent_id": None, "text": "t", "role": "prompter"}
    )


def test_conversion_needs_an_output(tmp_path: Path):
    with raises("missing-key", "--output"):
        main([str(tmp_path / "in.jsonl"), "--from", "hh"])
