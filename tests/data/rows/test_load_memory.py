"""Typed rows from memory equal those of a JSONL file; bad ones are named by their number."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest

from rlhf.data.config import DataConfig
from rlhf.data.files.read import Data, source_sha256
from rlhf.data.held_out import load_train_and_held_out, load_train_and_held_out_prompts
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import (
    Loaded,
    load_demonstrations,
    load_prompts,
    load_rankings,
    load_texts,
)
from rlhf.data.rows.mix import load_sources
from rlhf.data.rows.sources import Source, source_of
from tests.errors import raises

DEMONSTRATIONS = [{"prompt": f"{i}?", "completion": f"{i}."} for i in range(10)]
KINDS: dict[str, tuple[Callable[..., Loaded[Any]], list[dict[str, Any]]]] = {
    "prompts": (load_prompts, [{"prompt": "Who?", "gold": 2}, {"prompt": "Where?", "gold": 3}]),
    "demonstrations": (load_demonstrations, DEMONSTRATIONS),
    "rankings": (
        load_rankings,
        [
            {"prompt": "Who?", "responses": ["Ann", "Lily"], "ranks": [1, 2]},
            {"prompt": "Who?", "responses": ["Ann", "Lily", "Tim"], "ranks": [1, 2, 2]},
        ],
    ),
    "texts": (load_texts, [{"text": "Once."}, {"text": "Twice."}]),
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("make", [list, datasets.Dataset.from_list, pandas.DataFrame])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_loads_as_a_file(kind: str, make: Callable[[Any], Data], tmp_path: Path):
    load, rows = KINDS[kind]
    file, data = load(write(tmp_path / "a.jsonl", rows)), load(make(rows))
    assert data.rows == file.rows
    assert len(data.rows) == len(rows)
    assert [str(place) for place in data.places][:2] == ["rows:1", "rows:2"]
    assert (data.use.path, data.use.sha256) == ("rows", file.use.sha256)
    assert (data.use.rows, data.use.role) == (len(rows), file.use.role)


def test_list_of_strings_is_prompts_or_texts():
    assert [row.prompt for row in load_prompts(["Who?", "Where?"]).rows] == ["Who?", "Where?"]
    texts = load_texts(["Once.", "Twice."])
    assert texts.rows == ["Once.", "Twice."]
    assert texts.use.sha256 == source_sha256([{"text": "Once."}, {"text": "Twice."}])


def test_bad_rows_in_memory_are_named_by_number():
    with raises("bad-row", "rows:2", "rows:3"):
        load_demonstrations([*DEMONSTRATIONS[:1], {"prompt": "x"}, 5])


def test_equal_places_of_two_lists_are_two_bad_rows():
    with raises("bad-row", "2 rows", "rows:1"), BadRows() as bad_rows:
        load_prompts([{"text": "a"}, "x"], bad_rows=bad_rows)
        load_prompts([{"text": "b"}, "x"], bad_rows=bad_rows)


def test_bad_row_of_a_known_format_names_a_file_to_convert():
    with raises("bad-row", "rlhf data convert FILE.jsonl --from question_answer"):
        load_demonstrations([{"question": "x", "answer": "y"}])


def test_train_data_in_memory_is_split_as_its_file_is(tmp_path: Path):
    file = str(write(tmp_path / "a.jsonl", DEMONSTRATIONS))
    data = DataConfig(train_data=[file], eval_fraction=0.3)
    load = partial(load_train_and_held_out, load_demonstrations, data, None, BadRows(), seed=1)
    of_file, of_memory = load(), load(train=DEMONSTRATIONS)
    assert of_memory.train == of_file.train
    assert of_memory.held_out == of_file.held_out
    assert [len(of_memory.train), len(of_memory.held_out)] == [7, 3]
    assert [(use.role, use.path, use.rows) for use in of_memory.uses] == [
        ("train", "rows", 7),
        ("eval", "rows", 3),
    ]


def test_held_out_data_in_memory_replaces_eval_data(tmp_path: Path):
    data = DataConfig(train_data=["none.jsonl"], eval_data=["none.jsonl"])
    rows = load_train_and_held_out(
        load_demonstrations,
        data,
        None,
        BadRows(),
        seed=1,
        train=write(tmp_path / "a.jsonl", DEMONSTRATIONS[:8]),
        held_out=pandas.DataFrame(DEMONSTRATIONS[8:]),
    )
    assert [row.prompt for row in rows.train] == [f"{i}?" for i in range(8)]
    assert [row.prompt for row in rows.held_out] == ["8?", "9?"]


def test_prompts_in_memory_replace_the_keys_of_a_configuration():
    data = DataConfig(train_data=["none.jsonl"])
    rows = load_train_and_held_out_prompts(
        load_prompts, data, seed=0, train=["Who?", "Where?"], held_out=[{"prompt": "When?"}]
    )
    assert [row.prompt for row in rows.train] == ["Who?", "Where?"]
    assert [row.prompt for row in rows.held_out] == ["When?"]
    assert [(use.role, use.path, use.rows) for use in rows.uses] == [
        ("prompts", "rows", 2),
        ("eval", "rows", 1),
    ]


def test_sources_mix_files_and_memory(tmp_path: Path):
    file = str(write(tmp_path / "a.jsonl", [{"prompt": "a"}, {"prompt": "b"}]))
    rows, uses = load_sources(load_prompts, [Source(file), source_of(["x", "y"])], 0)
    assert [row.prompt for row in rows] == ["a", "x", "b", "y"]
    assert [use.path for use in uses] == [file, "rows"]
