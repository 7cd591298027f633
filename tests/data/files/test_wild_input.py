"""Any content of a file gives rows or a DataError, never a crash."""

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
from rlhf.data.rows.load_sft import load_sft_rows
from rlhf.data.source_formats.formats import FORMATS
from rlhf.errors import ConfigError, DataError

OWN_COLUMNS = [
    "prompt", "completion", "messages", "chosen", "rejected", "responses", "ranks", "label",
    "strength", "text", "role", "content",
]  # fmt: skip
# The keys that the converter of each format reads, at any depth.
FORMAT_COLUMNS = {
    "hh": ["prompt", "chosen", "rejected"],
    "argilla": ["fields", "responses", "metadata", "suggestions", "value", "rank", "user_id",
                "prompt", "response-1", "response-2"],
    "label_studio": ["data", "annotations", "result", "type", "value", "ranker", "selected",
                     "completed_by", "items", "id", "body", "answer1", "answer2"],
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
KEYS = OWN_COLUMNS + sorted(
    {key for keys in FORMAT_COLUMNS.values() for key in keys} - set(OWN_COLUMNS)
)
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
def test_any_bytes_are_rows_or_an_error(tmp_path: Path, content: bytes, name: str):
    (tmp_path / name).write_bytes(content)
    with contextlib.suppress(DataError):
        for where, _ in read_rows(str(tmp_path / name)):
            assert str(where).startswith(str(tmp_path / name))


@calm
@given(
    file_rows=st.lists(rows, max_size=3),
    load=st.sampled_from(
        [load_demonstrations, load_prompts, load_rankings, load_sft_rows, load_texts]
    ),
)
def test_any_rows_are_loaded_or_counted(tmp_path: Path, file_rows: list, load):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in file_rows))
    with contextlib.suppress(DataError):
        loaded = load(str(path), bad_rows=BadRows(drop=True))
        assert loaded.use.rows == len(loaded.rows) > 0
        assert loaded.use.rows + loaded.use.dropped == len(file_rows)


def rows_of(name: str) -> st.SearchStrategy[tuple[str, dict]]:
    """A format, and a row that has its columns with any values."""
    inner = st.recursive(
        leaves,
        lambda within: (
            st.lists(within, max_size=3)
            | st.dictionaries(st.sampled_from(FORMAT_COLUMNS[name]), within)
        ),
        max_leaves=10,
    )
    return st.tuples(
        st.just(name), st.fixed_dictionaries(dict.fromkeys(FORMAT_COLUMNS[name], inner))
    )


@settings(calm, max_examples=300)
@given(format_row=st.sampled_from(sorted(FORMATS)).flatmap(rows_of))
def test_any_values_in_the_columns_of_a_format(tmp_path: Path, format_row: tuple[str, dict]):
    """Conversion, also with --drop_bad_rows, detection and loading do not crash."""
    name, row = format_row
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    for work in (
        lambda: convert(str(path), name),
        lambda: convert(str(path), name, dropping=True).lines(name),
        lambda: detect(str(path)),
        lambda: load_rankings(str(path)),
    ):
        with contextlib.suppress(DataError, ConfigError):
            work()


@calm
@given(row=rows, name=st.sampled_from(list(FORMATS)))
@example(row={"prompt": "x", "responses": ["a"], "scores": {"axis": ["high"]}}, name="summeval")
@example(row={"prompt": "x", "responses": ["a"], "scores": {"a": [1], "b": 2}}, name="summeval")
@example(row={"prompt": "x", "responses": ["a"], "scores": {"a": [1], "b": []}}, name="summeval")
@example(row={"prompt": "x", "responses": ["a", "b"], "scores": [1, None]}, name="scored")
@example(row={"instruction": "x", "annotator1": [1]}, name="pandalm")
@example(row={"fields": {"prompt": "x"}, "responses": {"q": [1]}}, name="argilla")
@example(row={"fields": {}, "responses": {"q": [{"value": [[]]}]}}, name="argilla")
@example(row={"data": {"prompt": "x", "a": [{"id": []}]}, "annotations": 3}, name="label_studio")
@example(row={"instruction": "x", "instances": ["y"]}, name="instruction")
@example(row={"instruction": "x", "instances": 5}, name="instruction")
@example(row={"text": "x", "label": [1]}, name="sentiment")
def test_any_row_is_converted_from_any_format_or_rejected(tmp_path: Path, row: dict, name: str):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with contextlib.suppress(DataError, ConfigError):
        convert(str(path), name)
