"""JSON documents are read whole, wherever their rows are; broken ones raise `DataError`."""

import json
from pathlib import Path

import pytest

from rlhf.data.files.read import Unreadable, read_rows
from rlhf.errors import ErrorCode
from tests.errors import raises


def reasons_of(path: Path) -> dict[int, str]:
    """Line of each unreadable row, and the reason."""
    rows = list(read_rows(str(path)))
    return {where.line: row.reason for where, row in rows if isinstance(row, Unreadable)}


BIRD = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A chair."}
TREE = {"prompt": "Name a tree.", "chosen": "An oak.", "rejected": "A cat."}


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("one.json", json.dumps(BIRD, indent=2), ["1 (row 1)"]),
        ("below.json", json.dumps({"data": [BIRD, TREE]}), ["1 (row 1)", "1 (row 2)"]),
        ("next_to.json", json.dumps({"version": [1], "rows": [BIRD, TREE]}, indent=1),
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
    placed = list(read_rows(str(path)))
    assert [row for _, row in placed] == [BIRD, TREE][: len(places)]
    assert [str(where) for where, _ in placed] == [f"{path}:{place}" for place in places]


@pytest.mark.parametrize("row", [
    {"messages": [{"role": "user", "content": "x"}]},
    {"conversations": [{"from": "gpt", "value": "x"}], "id": 1},
    {"instruction": "x", "completions": [{"response": "y"}]},
])  # fmt: skip
def test_row_with_a_list_of_objects_is_one_row(tmp_path: Path, row: dict):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(row, indent=2))
    assert [row for _, row in read_rows(str(path))] == [row]


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        ('{"train": [{"a": 1}], "test": [{"a": 2}]}', "unknown-format", "train, test"),
        ('{\n"a": 1}\n{"a": }', "unreadable-file", "a.json:3 (row 2)"),
    ],
)
def test_broken_json_document_is_rejected(tmp_path: Path, text: str, code: ErrorCode, name: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    with raises(code, name):
        list(read_rows(str(path)))


def test_broken_first_line_does_not_make_a_document(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "half\n{"text": "whole"}\n')
    assert list(reasons_of(path)) == [1]
    assert list(read_rows(str(path)))[1][1] == {"text": "whole"}
    path.write_text('[1, 2]\n{"text": "whole"}\n')
    assert reasons_of(path) == {1: "expected a row {...}, found list"}
