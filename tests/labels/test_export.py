"""What is taken out of the store: nothing invented, what is left out counted, cells harmless."""

import csv
import io
import json

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlhf.data.files.read import read_rows
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.errors import DataError
from rlhf.labels.export import export, rows_of
from rlhf.labels.formats import as_csv, as_jsonl, as_parquet
from rlhf.labels.importing import import_file
from rlhf.labels.records import Candidate, Label
from rlhf.labels.store import LabelStore


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        store.add_candidates([Candidate(prompt="p", responses=("a", "b", "c"))])
        yield store


def label(ranks=(1, 2, 2), purpose="label", **extra) -> Label:
    return Label(
        item_id=1,
        annotator="ann",
        ranks=ranks,
        order_shown=(2, 0, 1),
        strength=2.0,
        purpose=purpose,
        extra=extra,
    )


def test_pairs_leave_ties_out_and_count_them(store):
    """1 2 2: a beats b and c, b and c tie. The better answer beats a."""
    store.submit(label(rewrite="better"))
    store.submit(label((2, 1, 3), purpose="repeat"))
    made = rows_of(store, "pairs")
    assert [(row["chosen"], row["rejected"]) for row in made.rows] == [
        ("a", "b"),
        ("a", "c"),
        ("better", "a"),
    ]
    assert made.left_out == {"tied pairs": 1, "gold and repeated items": 1}
    assert {row["strength"] for row in made.rows} == {2.0}


def test_a_text_ranked_apart_from_itself_gets_one_rank(tmp_path):
    """x is first and third of three, 2 on average, as y is: of four, w stands above all."""
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        store.add_candidates([Candidate(prompt="p", responses=("x", "x ", "y", "w"))])
        order = (0, 1, 2, 3)
        store.submit(Label(item_id=1, annotator="a", ranks=(2, 4, 3, 1), order_shown=order))
        assert rows_of(store, "pairs").left_out["tied pairs"] == 3
        export(store, tmp_path / "rankings.jsonl", "rankings")
    assert load_rankings(str(tmp_path / "rankings.jsonl")).rows[0].ranks == [2, 2, 2, 1]


def test_exported_kinds_are_rows_that_the_recipes_load(store, tmp_path):
    store.submit(label(rewrite="better"))
    export(store, tmp_path / "pairs.jsonl", "pairs")
    assert len(load_rankings(str(tmp_path / "pairs.jsonl")).rows) == 3
    export(store, tmp_path / "demonstrations.jsonl", "demonstrations")
    [row] = load_demonstrations(str(tmp_path / "demonstrations.jsonl")).rows
    assert row.completion == "better"


def test_overall_marks_become_thumbs(store):
    store.submit(label(overall=[7, 4, 1]))
    made = rows_of(store, "thumbs")
    assert [(row["completion"], row["label"]) for row in made.rows] == [("a", True), ("c", False)]
    assert made.left_out == {"answers without an overall mark": 0, "marks of 4": 1}


def test_a_repeat_stands_in_the_row_of_its_label_and_comes_back(store, tmp_path):
    store.submit(label(form={"tiers": [1, 1, 2]}, comment="x"))
    store.submit(label((3, 1, 2), purpose="repeat"))
    [row] = export(store, tmp_path / "r.jsonl", "rankings").rows
    assert row["repeats"][0]["ranks"] == [3, 1, 2]
    assert row["extra"] == {"comment": "x"}
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        for _ in range(2):
            import_file(copy, str(tmp_path / "r.jsonl"))
        said = [(tuple(one.ranks), one.purpose) for one in copy.labels()]
    assert said == [((1, 2, 2), "label"), ((3, 1, 2), "repeat")]


def test_gold_rows_are_items_that_measure(store, tmp_path):
    (tmp_path / "gold.jsonl").write_text('{"prompt": "g", "chosen": "yes", "rejected": "no"}\n')
    done = import_file(store, str(tmp_path / "gold.jsonl"), as_gold=True)
    assert (done.items, done.labels) == (1, 0)
    assert store.gold_ranks() == {2: [1, 2]}
    (tmp_path / "bare.jsonl").write_text('{"prompt": "g", "responses": ["yes", "no"]}\n')
    with pytest.raises(DataError, match="gold rows need ranks"):
        import_file(store, str(tmp_path / "bare.jsonl"), as_gold=True)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
)
def test_no_cell_is_a_formula(text):
    [_, [cell, _]] = csv.reader(io.StringIO(as_csv([{"comment": text}]), newline=""))
    assert cell == "'" + text


def test_csv_says_which_cells_are_json_and_which_are_quoted():
    """A blank cell is null, an empty text is not."""
    row = {"a": [1], "b": "-1", "c": "", "d": None, "e": "x", "f": False}
    header, cells = csv.reader(io.StringIO(as_csv([row]), newline=""))
    assert header == ["a", "b", "c", "d", "e", "f", "rlhf_cells"]
    assert cells[:6] == ["[1]", "'-1", '""', "", "x", "false"]
    assert json.loads(cells[6]) == {"json": ["a", "c", "f"], "quoted": ["b"]}


@pytest.mark.parametrize("name", ["rlhf_cells", "=1+1", " a"])
def test_csv_refuses_columns_that_would_not_come_back(name):
    with pytest.raises(DataError, match=r"export \.jsonl"):
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
@example(rows=[{"a": "=1"}, {"b": "'=1"}], suffix=".csv")
@example(rows=[{"a": "x\x00y"}], suffix=".csv")
def test_what_is_written_is_read_as_it_was(tmp_path, rows, suffix):
    """Less what is null, and in CSV and Parquet rows that hold nothing else."""
    path = tmp_path / f"r{suffix}"
    content = {".jsonl": as_jsonl, ".csv": as_csv, ".parquet": as_parquet}[suffix](rows)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    told = [{key: value for key, value in row.items() if value is not None} for row in rows]
    assert [row for _, row in read_rows(str(path))] == told


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_file_comes_with_a_card_and_touches_no_other(store, tmp_path, suffix):
    store.submit(label(comment="x"))
    (tmp_path / "r.md").write_text("somebody's notes")
    export(store, tmp_path / f"r{suffix}", "rankings")
    assert "1 rows of 1 annotators" in (tmp_path / f"r{suffix}.md").read_text()
    assert (tmp_path / "r.md").read_text() == "somebody's notes"


def test_parquet_holds_the_rows(store, tmp_path):
    store.submit(label(comment="x"))
    export(store, tmp_path / "r.parquet", "rankings")
    [row] = pyarrow.parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert (row["ranks"], row["responses"], row["annotator"]) == ([1, 2, 2], ["a", "b", "c"], "ann")
    with pytest.raises(DataError, match="ends with"):
        export(store, tmp_path / "r.xlsx", "rankings")
    with pytest.raises(DataError, match="not one of"):
        rows_of(store, "opinions")
