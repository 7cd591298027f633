"""Exports: rows by value, counts of left-out labels, safe cells."""

import csv
import io
import json

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlhf.data.files.read import read_rows
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.labels.export import export, rows_of
from rlhf.labels.formats import as_csv, as_jsonl, as_parquet
from rlhf.labels.importing import import_file
from rlhf.labels.leases import Leases
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate, Judgment, Label
from rlhf.labels.selection import QueueConfig
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore
from tests.errors import raises
from tests.labels.queues import Clock


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
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
    """1 2 2: a beats b and c, b and c tie. The written response beats a."""
    store.submit(label(rewrite="better"))
    store.submit(label((2, 1, 3), purpose="repeat"))
    exported = rows_of(store, "pairs")
    assert [(row["chosen"], row["rejected"]) for row in exported.rows] == [
        ("a", "b"),
        ("a", "c"),
        ("better", "a"),
    ]
    assert exported.left_out == {"tied pairs": 1, "gold and repeated items": 1}
    assert {row["strength"] for row in exported.rows} == {2.0}


def test_pairs_name_their_item_their_models_and_the_row_of_the_item(tmp_path):
    """A written response is of no model."""
    with LabelStore(tmp_path / "named.sqlite") as store:
        columns = {"id": "prompt-7", "source": "web"}
        item = Candidate(prompt="p", responses=("a", "b"), models=("m1", "m2"), columns=columns)
        store.add_candidates([item])
        store.submit(Label(item_id=1, annotator="ann", ranks=(2, 1), extra={"rewrite": "c"}))
        pair, written = rows_of(store, "pairs").rows
        assert (pair["id"], pair["source"], pair["item_id"]) == ("prompt-7", "web", 1)
        assert (pair["chosen"], pair["rejected"], pair["models"]) == ("b", "a", ["m2", "m1"])
        assert (written["chosen"], written["item_id"], "models" in written) == ("c", 1, False)
        [demonstration] = rows_of(store, "demonstrations").rows
        assert demonstration["item_id"] == 1
        export(store, tmp_path / "pairs.jsonl", "pairs")
    with LabelStore(tmp_path / "copy.sqlite") as copy:
        import_file(copy, str(tmp_path / "pairs.jsonl"))
        assert [tuple(item.models) for item in copy.items()] == [("m2", "m1"), ()]


def test_tie_of_equal_texts_has_no_strength(tmp_path):
    """One text above its own copy, "much better": a tie, and nothing about it is strong."""
    with LabelStore(tmp_path / "copies.sqlite") as store:
        store.add_candidates([Candidate(prompt="p", responses=("x", "x "))])
        extra = {"scale": -4, "comment": "?"}
        store.submit(Label(item_id=1, annotator="a", ranks=(1, 2), strength=4.0, extra=extra))
        [row] = rows_of(store, "rankings").rows
        assert (row["ranks"], row["strength"]) == ([1, 1], 1.0)
        assert row["extra"] == {"scale": 0, "comment": "?"}
        assert rows_of(store, "pairs").rows == []


def test_equal_texts_get_one_rank(tmp_path):
    """x has ranks 2 and 4, 3 on average, like y; w is above all."""
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        store.add_candidates([Candidate(prompt="p", responses=("x", "x ", "y", "w"))])
        order = (0, 1, 2, 3)
        store.submit(Label(item_id=1, annotator="a", ranks=(2, 4, 3, 1), order_shown=order))
        assert rows_of(store, "pairs").left_out["tied pairs"] == 3
        export(store, tmp_path / "rankings.jsonl", "rankings")
    assert load_rankings(str(tmp_path / "rankings.jsonl")).rows[0].ranks == [2, 2, 2, 1]


def test_exported_pairs_and_demonstrations_load_for_training(store, tmp_path):
    store.submit(label(rewrite="better"))
    export(store, tmp_path / "pairs.jsonl", "pairs")
    assert len(load_rankings(str(tmp_path / "pairs.jsonl")).rows) == 3
    export(store, tmp_path / "demonstrations.jsonl", "demonstrations")
    [row] = load_demonstrations(str(tmp_path / "demonstrations.jsonl")).rows
    assert row.completion == "better"


def test_overall_ratings_become_thumbs(store):
    store.submit(label(overall=[7, 4, 1]))
    exported = rows_of(store, "thumbs")
    assert [(row["completion"], row["label"]) for row in exported.rows] == [
        ("a", True),
        ("c", False),
    ]
    assert exported.left_out == {
        "responses without an overall rating": 0,
        "overall ratings of 4": 1,
    }


def test_repeat_is_exported_with_its_label_and_restored(store, tmp_path):
    store.submit(label(form={"tiers": [1, 1, 2]}, comment="x"))
    store.submit(label((3, 1, 2), purpose="repeat"))
    [row] = export(store, tmp_path / "r.jsonl", "rankings").rows
    assert row["repeats"][0]["ranks"] == [3, 1, 2]
    assert row["extra"] == {"comment": "x"}
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        for _ in range(2):
            import_file(copy, str(tmp_path / "r.jsonl"))
        restored = [(tuple(label.ranks), label.purpose) for label in copy.labels()]
    assert restored == [((1, 2, 2), "label"), ((3, 1, 2), "repeat")]


def test_gold_rows_become_gold_items(store, tmp_path):
    (tmp_path / "gold.jsonl").write_text('{"prompt": "g", "chosen": "yes", "rejected": "no"}\n')
    result = import_file(store, str(tmp_path / "gold.jsonl"), as_gold=True)
    assert (result.items, result.labels) == (1, 0)
    assert store.gold_ranks() == {2: [1, 2]}
    (tmp_path / "bare.jsonl").write_text('{"prompt": "g", "responses": ["yes", "no"]}\n')
    with raises("bad-row", "ranks"):
        import_file(store, str(tmp_path / "bare.jsonl"), as_gold=True)


def with_a_gold_item(store):
    """Ann labels the open item 1 and the gold item 2; its second response is the better one."""
    store.add_gold([Candidate(prompt="g", responses=("yes", "no"))], [(2, 1)])
    store.submit(label())
    store.submit(Label(item_id=2, annotator="ann", ranks=(1, 2), purpose="gold", seconds=3.0))


def test_labels_of_gold_items_are_exported_apart_and_come_back(store, tmp_path):
    with_a_gold_item(store)
    exported = export(store, tmp_path / "r.jsonl", "rankings")
    assert [row["item_id"] for row in exported.rows] == [1]
    assert exported.left_out == {"labels of gold items": 1}
    [row] = export(store, tmp_path / "gold.jsonl", "gold").rows
    assert (row["purpose"], row["ranks"], row["gold_ranks"]) == ("gold", [1, 2], [2, 1])
    with LabelStore(tmp_path / "copy.sqlite") as copy:
        for name in ("r.jsonl", "gold.jsonl", "gold.jsonl"):
            import_file(copy, str(tmp_path / name))
        assert copy.gold_ranks() == {2: [2, 1]}
        assert [(one.purpose, one.seconds) for one in copy.labels()] == [
            ("label", None),
            ("gold", 3.0),
        ]
        assert Queue(copy, QueueConfig(overlap=2)).next("bob").item.id == 1
        assert [one.gold_items.value for one in label_stats(copy).annotators] == [0.0]


def test_own_export_of_gold_labels_adds_nothing(store, tmp_path):
    with_a_gold_item(store)
    export(store, tmp_path / "gold.csv", "gold")
    assert import_file(store, str(tmp_path / "gold.csv")).labels == 0
    assert store.gold_ranks() == {2: [2, 1]}


def test_a_ranking_of_a_gold_item_is_a_bad_row(store, tmp_path):
    """Nothing of the file is added, unless bad rows are dropped."""
    with_a_gold_item(store)
    rows = [
        {"prompt": "new", "chosen": "a", "rejected": "b"},
        {"prompt": "g", "responses": ["yes", "no"], "ranks": [1, 2], "annotator": "bob"},
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with raises("bad-row", "own.jsonl:2", "gold item"):
        import_file(store, str(tmp_path / "own.jsonl"))
    assert len(store.items()) == 2
    dropping = BadRows(drop=True, reject_file=tmp_path / "rejected.jsonl")
    result = import_file(store, str(tmp_path / "own.jsonl"), bad_rows=dropping)
    assert (result.labels, result.dropped) == (1, 1)
    assert import_file(store, str(tmp_path / "own.jsonl"), as_candidates=True).labels == 0


def test_labels_from_before_an_item_became_gold_do_not_count(store):
    store.submit(label(rewrite="better"))
    store.add_gold([Candidate(prompt="p", responses=("a", "b", "c"))], [(1, 2, 3)])
    for kind in ("rankings", "pairs", "demonstrations"):
        exported = rows_of(store, kind)
        assert exported.rows == []
        assert exported.left_out["labels from before their item became a gold item"] == 1
    assert store.labels() == []
    assert len(store.labels(with_excluded=True)) == 1


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


def test_events_have_skips_with_reasons_undos_and_late_labels(store, tmp_path):
    clock = Clock()
    queue = Queue(store, QueueConfig(), Leases(60.0, clock))
    claim = queue.next("bob")
    queue.skip(
        "bob", claim.id, {"reason": "unclear", "comment": "=1", "seconds": 4.0}, request_key="s"
    )
    idle = queue.next("ann")
    clock.now = 61.0
    second = queue.next("cat")
    queue.submit("ann", idle.id, Judgment(ranks=[1, 2, 3], seconds=9.0), request_key="a")
    queue.submit("cat", second.id, Judgment(ranks=[3, 2, 1], seconds=2.0), request_key="c")
    queue.undo("cat", request_key="u")
    rows = export(store, tmp_path / "events.csv", "events").rows
    assert [(row["kind"], row["annotator"]) for row in rows] == [
        ("skip", "bob"),
        ("late", "ann"),
        ("submit", "cat"),
        ("undo", "cat"),
    ]
    skip, late, submitted, undo = rows
    assert (skip["reason"], skip["comment"], skip["seconds"], skip["ranks"]) == (
        *("unclear", "=1", 4.0),
        None,
    )
    assert (late["ranks"], late["seconds"]) == ([1, 2, 3], 9.0)
    assert (submitted["undone_by"], undo["undoes"]) == (undo["event_id"], submitted["event_id"])
    read = [row for _, row in read_rows(str(tmp_path / "events.csv"))]
    assert [row.get("reason") for row in read] == ["unclear", None, None, None]
    assert read[0]["comment"] == "=1"
