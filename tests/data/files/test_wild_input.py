"""Whatever stands in a file, the answer is rows or a DataError, never a crash."""

import contextlib
import json
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlhf.data.convert import convert
from rlhf.data.files.read import read_rows
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.detect import detect
from rlhf.data.rows.load import load_demonstrations, load_prompts, load_rankings, load_texts
from rlhf.data.source_formats.formats import SHAPES
from rlhf.errors import ConfigError, DataError

OURS = [
    "prompt", "completion", "messages", "chosen", "rejected", "responses", "ranks", "label",
    "strength", "text", "role", "content",
]  # fmt: skip
# Of each shape what its converter reads, at any depth.
THEIRS = {
    "hh": ["prompt", "chosen", "rejected"],
    "pandalm": ["instruction", "input", "response1", "response2", "annotator1"],
    "oasst": ["messages", "responses", "order"],
    "summeval": ["prompt", "responses", "scores"],
    "scored": ["prompt", "responses", "scores"],
    "helpsteer2": ["prompt", "response", "helpfulness", "response_1", "response_2",
                   "preference_strength", "rows"],
    "helpsteer3": ["context", "response1", "response2", "overall_preference",
                   "individual_preference", "score", "domain"],
    "ultrafeedback": ["instruction", "completions", "response", "annotations", "helpfulness",
                      "honesty", "Rating", "model"],
    "rewardbench2": ["prompt", "chosen", "rejected", "num_correct", "subset"],
    "webgpt": ["question", "full_text", "answer_0", "answer_1", "score_0", "score_1"],
    "shp": ["history", "human_ref_A", "human_ref_B", "labels", "score_ratio"],
    "question_answer": ["question", "answer", "context", "passage"],
    "instruction": ["instruction", "input", "output", "instances", "system", "history", "chosen",
                    "rejected", "kto_tag"],
    "sharegpt": ["conversations", "from", "value", "system", "tools", "name", "arguments",
                 "chosen", "rejected", "kto_tag"],
    "thumbs": ["prompt", "completion", "label"],
    "opening": ["text"],
    "sentiment": ["text", "label"],
    "prm800k": ["question", "label", "labeler"],
    "oasst_messages": ["message_id", "parent_id", "text", "role"],
}  # fmt: skip
KEYS = OURS + sorted({key for keys in THEIRS.values() for key in keys} - set(OURS))
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(
    ["", " ", "user", "assistant", "human", "gpt", "function_call", "text", "best_first", "N/A",
     "4", "[]", '{"name": 1}', "\n\nHuman: a\n\nAssistant: b", "\ud800", "\x00"]
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)
rows = st.dictionaries(st.sampled_from(KEYS), values, max_size=6)
calm = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@calm
@given(
    content=st.binary(max_size=80),
    name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.jsonl.gz", "a.parquet"]),
)
@example(content=b'[{"text": 1},,]', name="a.json")
@example(content=b"\xff\xfe[", name="a.json")
@example(content=b'text\n"open\r\x00', name="a.csv")
def test_any_bytes(tmp_path: Path, content: bytes, name: str):
    (tmp_path / name).write_bytes(content)
    with contextlib.suppress(DataError):
        for where, _ in read_rows(str(tmp_path / name)):
            assert str(where).startswith(str(tmp_path / name))


@calm
@given(
    found=st.lists(rows, max_size=3),
    load=st.sampled_from([load_demonstrations, load_prompts, load_rankings, load_texts]),
)
def test_any_rows(tmp_path: Path, found: list, load):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    with contextlib.suppress(DataError):
        loaded = load(str(path), bad_rows=BadRows(drop=True))
        assert loaded.use.rows == len(loaded.rows) > 0
        assert loaded.use.rows + loaded.use.dropped == len(found)


def rows_of(shape: str) -> st.SearchStrategy[tuple[str, dict]]:
    """A shape, and a row that has its columns and anything in them."""
    inner = st.recursive(
        leaves,
        lambda within: (
            st.lists(within, max_size=3) | st.dictionaries(st.sampled_from(THEIRS[shape]), within)
        ),
        max_leaves=10,
    )
    return st.tuples(st.just(shape), st.fixed_dictionaries(dict.fromkeys(THEIRS[shape], inner)))


@settings(calm, max_examples=300)
@given(given_row=st.sampled_from(sorted(SHAPES)).flatmap(rows_of))
def test_any_values_in_the_columns_of_a_shape(tmp_path: Path, given_row: tuple[str, dict]):
    """With --drop_bad_rows, too; and what it is taken for is found without a crash."""
    shape, row = given_row
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    for work in (
        lambda: convert(str(path), shape),
        lambda: convert(str(path), shape, dropping=True).lines(shape),
        lambda: detect(str(path)),
        lambda: load_rankings(str(path)),
    ):
        with contextlib.suppress(DataError, ConfigError):
            work()


@calm
@given(row=rows, shape=st.sampled_from(list(SHAPES)))
@example(row={"prompt": "x", "responses": ["a"], "scores": {"axis": ["high"]}}, shape="summeval")
@example(row={"prompt": "x", "responses": ["a"], "scores": {"a": [1], "b": 2}}, shape="summeval")
@example(row={"prompt": "x", "responses": ["a"], "scores": {"a": [1], "b": []}}, shape="summeval")
@example(row={"prompt": "x", "responses": ["a", "b"], "scores": [1, None]}, shape="scored")
@example(row={"instruction": "x", "annotator1": [1]}, shape="pandalm")
@example(row={"instruction": "x", "instances": ["y"]}, shape="instruction")
@example(row={"instruction": "x", "instances": 5}, shape="instruction")
@example(row={"text": "x", "label": [1]}, shape="sentiment")
def test_any_row_as_any_shape(tmp_path: Path, row: dict, shape: str):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with contextlib.suppress(DataError, ConfigError):
        convert(str(path), shape)
