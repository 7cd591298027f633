"""Rows in memory give what the same rows in a JSONL file give, and have a stable hash."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy
import pandas
import pytest

from rlhf.data.files.memory import read_memory, with_column
from rlhf.data.files.read import Data, Unreadable, read_rows, source_name, source_sha256
from tests.errors import raises

ROWS = [
    {"prompt": "Who?", "responses": ["Ann", "Lily"], "ranks": [1, 2]},
    {"prompt": "Where?", "responses": ["here", "there"], "ranks": [2, 1]},
]
KINDS: dict[str, Callable[[list[dict]], Data]] = {
    "list": list,
    "tuple": tuple,
    "dataset": datasets.Dataset.from_list,
    "frame": pandas.DataFrame,
}


def rows_of(data: Data) -> list:
    return [row for _, row in read_rows(data)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_memory_equal_the_rows_of_a_file(kind: str, file: Path):
    data = KINDS[kind](ROWS)
    assert rows_of(data) == rows_of(file) == ROWS
    assert [str(where) for where, _ in read_rows(data)] == ["rows:1", "rows:2"]
    assert source_name(data) == "rows"


@pytest.mark.parametrize("kind", KINDS)
def test_hash_of_rows_in_memory_is_the_hash_of_their_jsonl(kind: str, file: Path):
    assert source_sha256(KINDS[kind](ROWS)) == source_sha256(file) == source_sha256(str(file))


def test_strings_in_a_list_are_prompts():
    assert rows_of(["Who?", "Where?"]) == [{"prompt": "Who?"}, {"prompt": "Where?"}]
    assert source_sha256(["Who?"]) == source_sha256([{"prompt": "Who?"}])
    assert source_sha256(["Who?"]) != source_sha256(["Where?"])


def test_lists_of_messages_in_a_list_are_prompts():
    messages = [{"role": "user", "content": "Who?"}]
    assert rows_of([messages, tuple(messages)]) == [{"prompt": messages}] * 2
    for item in ([], ["Who?"], [{"content": "Who?"}]):
        assert isinstance(rows_of([item])[0], Unreadable)


def test_path_reads_as_its_name_does(file: Path):
    assert list(read_rows(file)) == list(read_rows(str(file)))
    assert source_name(file) == str(file)


def test_missing_cells_of_a_data_frame_are_absent():
    frame = pandas.DataFrame(
        {
            "prompt": ["a", None, pandas.NA],
            "gold": [1.5, float("nan"), 2.0],
            "date": [pandas.NaT, pandas.NaT, pandas.NaT],
            "many": [[1, 2], None, numpy.array([3])],
        }
    )
    assert rows_of(frame) == [
        {"prompt": "a", "gold": 1.5, "many": [1, 2]},
        {},
        {"gold": 2.0, "many": [3]},
    ]


def test_numpy_values_become_python_values():
    row = {"prompt": numpy.str_("a"), "ranks": numpy.array([1, 2]), "gold": [numpy.float32(0.5)]}
    (read,) = rows_of([row])
    assert read == {"prompt": "a", "ranks": [1, 2], "gold": [0.5]}
    assert [type(read["ranks"][0]), type(read["gold"][0])] == [int, float]


def test_formatted_dataset_gives_python_values():
    dataset = datasets.Dataset.from_list([{"prompt": "a", "ids": [1, 2]}]).with_format("numpy")
    assert rows_of(dataset) == [{"prompt": "a", "ids": [1, 2]}]


def test_null_keys_of_a_struct_are_absent():
    """Columns give each message the keys of all of them."""
    messages = [{"role": "user", "content": "a"}, {"role": "tool", "content": "b", "name": "f"}]
    assert rows_of(datasets.Dataset.from_list([{"messages": messages}])) == [{"messages": messages}]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (3, "expected a row {...}, found int"),
        (None, "expected a row {...}, found null"),
        ({"prompt": "\ud83d"}, "invalid UTF-8"),
        ({"prompt": "a", "gold": float("nan")}, "not JSON"),
    ],
)
def test_item_that_is_no_row_is_unreadable(item: object, reason: str):
    (_, first), (where, second) = read_rows([{"prompt": "a"}, item])
    assert first == {"prompt": "a"}
    assert str(where) == "rows:2"
    assert isinstance(second, Unreadable)
    assert reason in second.reason
    assert source_sha256([item]) == source_sha256([item])


def test_unknown_types_are_rejected():
    with raises("bad-value", "generator"):
        rows_of(row for row in ROWS)
    with raises("bad-value", "dict"):
        rows_of({"prompt": ["a"]})
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})
    with raises("bad-value", "DatasetDict", "train"):
        rows_of(splits)
    frame = pandas.DataFrame([["a", "b"]], columns=["prompt", "prompt"])
    with raises("repeated-key", "prompt"):
        rows_of(frame)


def test_lists_are_read_without_importing_pandas_or_datasets():
    code = (
        "import sys; from rlhf.data.files.read import read_rows, source_sha256; "
        "list(read_rows([{'prompt': 'a'}, 'b'])); source_sha256(['b']); "
        "print({'pandas', 'datasets'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_name_of_a_file_in_a_list_is_rejected(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "Hi"}\n')
    with raises("bad-value", file, "rows[0]"):
        list(read_memory([str(file)]))
    with raises("bad-value", file):
        with_column([str(file)], "text")
    texts = ["prompts.jsonl", "Hi.", "x." + "y" * 5000, "nul\0.x"]
    assert [row["prompt"] for _, row in read_memory(texts)] == texts
