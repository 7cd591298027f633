"""Gold items: from their rows to the export of their labels, which no training file has."""

import json

import pytest

from rlhf.data.rows.bad_rows import BadRows
from rlhf.labels.export import export, rows_of
from rlhf.labels.importing import import_file
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate, Label
from rlhf.labels.selection import QueueConfig
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore
from tests.errors import raises
from tests.labels.one_item import ITEM, label


@pytest.fixture
def store(sqlite_store):
    sqlite_store.add_candidates([ITEM])
    return sqlite_store


def with_a_gold_item(store):
    """Ann labels the open item 1 and the gold item 2; its second response is the better one."""
    store.add_gold([Candidate(prompt="g", responses=("yes", "no"))], [(2, 1)])
    store.submit(label())
    store.submit(Label(item_id=2, annotator="ann", ranks=(1, 2), purpose="gold", seconds=3.0))


def test_gold_rows_become_gold_items(store, tmp_path):
    (tmp_path / "gold.jsonl").write_text('{"prompt": "g", "chosen": "yes", "rejected": "no"}\n')
    result = import_file(store, str(tmp_path / "gold.jsonl"), as_gold=True)
    assert (result.items, result.labels) == (1, 0)
    assert store.gold_ranks() == {2: [1, 2]}
    (tmp_path / "bare.jsonl").write_text('{"prompt": "g", "responses": ["yes", "no"]}\n')
    with raises("bad-row", "ranks"):
        import_file(store, str(tmp_path / "bare.jsonl"), as_gold=True)


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
