"""JSON documents are read whole, wherever their rows are; broken ones are refused in a sentence."""

import json
from pathlib import Path

import pytest

from rlhf.data.files.read import Unreadable, read_rows
from rlhf.errors import DataError


def findings(path: Path) -> dict[int, str]:
    rows = list(read_rows(str(path)))
    return {where.line: row.reason for where, row in rows if isinstance(row, Unreadable)}


BIRD = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A chair."}
TREE = {"prompt": "Name a tree.", "chosen": "An oak.", "rejected": "A cat."}


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("one.json", json.dumps(BIRD, indent=2), ["1 (row 1)"]),
        ("below.json", json.dumps({"data": [BIRD, TREE]}), ["1 (row 1)", "1 (row 2)"]),
        ("beside.json", json.dumps({"version": [1], "rows": [BIRD, TREE]}, indent=1),
         ["6 (row 1)", "11 (row 2)"]),
        ("several.json", json.dumps(BIRD, indent=2) + "\n" + json.dumps(TREE, indent=2),
         ["1 (row 1)", "6 (row 2)"]),
        ("several.jsonl", json.dumps(BIRD, indent=2) + "\n" + json.dumps(TREE),
         ["1 (row 1)", "6 (row 2)"]),
        ("array.jsonl", json.dumps([BIRD, TREE], indent=1), ["2 (row 1)", "7 (row 2)"]),
        ("line.jsonl", json.dumps([BIRD, TREE]), ["1 (row 1)", "1 (row 2)"]),
        ("bom.json", "\ufeff" + json.dumps(BIRD, indent=2), ["1 (row 1)"]),
        ("lines.json", json.dumps(BIRD) + "\r\n" + json.dumps(TREE), ["1", "2"]),
    ],
)  # fmt: skip
def test_json_documents_are_read_whole(tmp_path: Path, name: str, text: str, places: list[str]):
    """indent=1 puts `[` or `{` on a line, three keys, and `}`: five lines a row."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = list(read_rows(str(path)))
    assert [row for _, row in found] == [BIRD, TREE][: len(places)]
    assert [str(where) for where, _ in found] == [f"{path}:{place}" for place in places]


@pytest.mark.parametrize("row", [
    {"messages": [{"role": "user", "content": "x"}]},
    {"conversations": [{"from": "gpt", "value": "x"}], "id": 1},
    {"instruction": "x", "completions": [{"response": "y"}]},
])  # fmt: skip
def test_a_row_that_holds_objects_is_no_list_of_rows(tmp_path: Path, row: dict):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(row, indent=2))
    assert [row for _, row in read_rows(str(path))] == [row]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"train": [{"a": 1}], "test": [{"a": 2}]}', "several keys .train, test.; write a file"),
        ('{\n"a": 1}\n{"a": }', r"a\.json:3 \(row 2\) not JSON"),
    ],
)
def test_a_json_document_that_is_none_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_rows(str(path)))


def test_a_broken_first_line_does_not_make_a_document(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "half\n{"text": "whole"}\n')
    assert list(findings(path)) == [1]
    assert list(read_rows(str(path)))[1][1] == {"text": "whole"}
    path.write_text('[1, 2]\n{"text": "whole"}\n')
    assert findings(path) == {1: "a list where a row {...} is expected"}
