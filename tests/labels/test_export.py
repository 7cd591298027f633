"""Exports: rows by value, counts of left-out labels."""

import pytest

from rlhf.data.files.read import read_rows
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.labels.export import export, rows_of
from rlhf.labels.importing import import_file
from rlhf.labels.leases import Leases
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate, Judgment, Label
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from tests.labels.one_item import ITEM, label
from tests.labels.queues import Clock


@pytest.fixture
def store(sqlite_store):
    sqlite_store.add_candidates([ITEM])
    return sqlite_store


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
