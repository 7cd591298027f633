"""Files of exports: safe cells of CSV, Parquet, the card next to them."""

import csv
import io
import json

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlhf.data.files.read import read_rows
from rlhf.labels.export import export, rows_of
from rlhf.labels.formats import as_csv, as_jsonl, as_parquet
from tests.errors import raises
from tests.labels.one_item import ITEM, label


@pytest.fixture
def store(sqlite_store):
    sqlite_store.add_candidates([ITEM])
    return sqlite_store


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
)
def test_no_cell_is_a_formula(text):
    [_, [cell, _]] = csv.reader(io.StringIO(as_csv([{"comment": text}]), newline=""))
    assert cell == "'" + text


def test_csv_records_json_cells_and_quoted_cells():
    """A blank cell is null, an empty text is not."""
    row = {"a": [1], "b": "-1", "c": "", "d": None, "e": "x", "f": False}
    header, cells = csv.reader(io.StringIO(as_csv([row]), newline=""))
    assert header == ["a", "b", "c", "d", "e", "f", "rlhf_cells"]
    assert cells[:6] == ["[1]", "'-1", '""', "", "x", "false"]
    assert json.loads(cells[6]) == {"json": ["a", "c", "f"], "quoted": ["b"]}


@pytest.mark.parametrize("name", ["rlhf_cells", "=1+1", " a"])
def test_csv_rejects_column_names_it_cannot_restore(name):
    with raises("bad-row", name):
        as_csv([{name: "x"}])


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["'=1", "''-1", "=1", "[]", '[{"role": "user", "content": "x"}]', "true", "1", "a\r\nb", "\r"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
tables = st.lists(
    st.dictionaries(st.sampled_from("abc"), json_values, min_size=1), min_size=1, max_size=3
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=tables, suffix=st.sampled_from([".jsonl", ".csv", ".parquet"]))
@example(rows=[{"a": [{"b": None}]}], suffix=".parquet")
@example(rows=[{"a": [{}]}], suffix=".parquet")
@example(rows=[{"a": 10**30}], suffix=".parquet")
@example(rows=[{"a": "=1"}, {"b": "'=1"}], suffix=".csv")
@example(rows=[{"a": "x\x00y"}], suffix=".csv")
def test_written_rows_are_read_back_unchanged(tmp_path, rows, suffix):
    """Except for null values."""
    path = tmp_path / f"r{suffix}"
    content = {".jsonl": as_jsonl, ".csv": as_csv, ".parquet": as_parquet}[suffix](rows)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    expected = [{key: value for key, value in row.items() if value is not None} for row in rows]
    assert [row for _, row in read_rows(str(path))] == expected


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_export_writes_a_card_and_no_other_file(store, tmp_path, suffix):
    store.submit(label(comment="x"))
    store.add_guideline("Be fair.")
    (tmp_path / "r.md").write_text("other notes")
    export(store, tmp_path / f"r{suffix}", "rankings")
    card = (tmp_path / f"r{suffix}.md").read_text()
    assert "1 row of 1 annotator" in card
    assert "| `ranks` | a rank for each response" in card
    assert "1 row of 1 annotator, labelled on 2" in card
    assert "## Guideline, version 1 (0 labels)\n\n> Be fair." in card
    assert (tmp_path / "r.md").read_text() == "other notes"


@pytest.mark.parametrize(("name", "kind"), [("r.csv", "rankings"), ("r.json", "argilla")])
def test_exported_names_are_read_by_the_owner_alone(store, tmp_path, name, kind):
    """As the store's file, also over an older export that everyone may read."""
    store.submit(label(comment="x"))
    (tmp_path / name).write_text("older")
    (tmp_path / name).chmod(0o644)
    export(store, tmp_path / name, kind)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_parquet_contains_the_rows(store, tmp_path):
    store.submit(label(comment="x"))
    export(store, tmp_path / "r.parquet", "rankings")
    [row] = pyarrow.parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert (row["ranks"], row["responses"], row["annotator"]) == ([1, 2, 2], ["a", "b", "c"], "ann")
    with raises("unknown-format", "r.xlsx"):
        export(store, tmp_path / "r.xlsx", "rankings")
    with raises("bad-value", "opinions"):
        rows_of(store, "opinions")


def test_csv_file_begins_with_a_byte_order_mark_and_is_read_back(store, tmp_path):
    """Without it Excel reads UTF-8 in the local code page."""
    store.submit(label(comment="ütf ✓"))
    [row] = export(store, tmp_path / "r.csv", "rankings").rows
    assert (tmp_path / "r.csv").read_bytes().startswith(b"\xef\xbb\xbfprompt,")
    [(_, read)] = read_rows(str(tmp_path / "r.csv"))
    assert read["extra"] == row["extra"] == {"comment": "ütf ✓"}
