"""The researcher's side of the store: decisions and the item browser."""

import pytest

from rlhf.labels.erase import erase_person
from rlhf.labels.export import rows_of
from rlhf.labels.importing import import_file
from rlhf.labels.records import Candidate, Label
from rlhf.labels.review import decisions
from rlhf.labels.review.browse import ItemFilter, browse
from rlhf.labels.review.history import Histories
from rlhf.labels.stats import label_stats
from tests.errors import raises
from tests.labels.queues import judgment, label_all, queue_of


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


def test_excluded_item_is_not_handed_out_and_its_labels_do_not_count(store):
    queue = queue_of(store, 2, overlap=2)
    label_all(queue, "ann")
    decisions.exclude(store, 1, "the prompt is cut off")
    assert label_all(queue, "bob") == [2]
    assert {label.item_id for label in store.labels()} == {2}
    assert len(store.labels(with_excluded=True)) == 3
    assert label_stats(store).labels == 2
    exported = rows_of(store, "rankings")
    assert len(exported.rows) == 2
    assert exported.left_out == {"labels of excluded items": 1}
    decisions.reopen(store, 1, "complete after all")
    assert label_all(queue, "bob") == [1]
    assert len(store.labels()) == 4
    events = [row for row in rows_of(store, "events").rows if row["by"]]
    assert [(row["kind"], row["reason"]) for row in events] == [
        ("exclude", "the prompt is cut off"),
        ("reopen", "complete after all"),
    ]


def test_reimport_of_an_excluded_item_adds_no_label(store, tmp_path):
    store.add("p", ["a", "b"], ranks=[1, 2], annotator="ann")
    (tmp_path / "r.jsonl").write_text(
        '{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2], "annotator": "ann"}\n'
    )
    decisions.exclude(store, 1, "twice")
    assert import_file(store, str(tmp_path / "r.jsonl")).labels == 0


def test_excluded_gold_item_measures_nobody_and_returns_as_gold(store):
    store.add_gold([Candidate(prompt="g", responses=("a", "b"))], [(1, 2)])
    decisions.exclude(store, 1, "wrong gold")
    assert store.gold_ranks() == {}
    decisions.reopen(store, 1, "right after all")
    assert store.gold_ranks() == {1: [1, 2]}
    with raises("not-allowed", 1):
        decisions.reopen(store, 1, "once more")


def test_reopened_item_gets_one_more_annotator(store):
    queue = queue_of(store, 1)
    label_all(queue, "ann")
    assert queue.next("bob") is None
    decisions.reopen(store, 1, "a second opinion")
    assert label_all(queue, "bob") == [1]
    assert queue.next("cat") is None
    assert len(store.labels()) == 2


def test_label_taken_back_returns_to_the_queue(store):
    queue = queue_of(store, 1)
    label_all(queue, "ann")
    [label] = store.labels()
    decisions.take_back(store, label.event_id, "clicked without reading")
    assert store.labels() == []
    assert queue.progress("ann").done == 0
    assert queue.undo("ann", request_key="u") is None  # it is undone already
    assert label_all(queue, "bob") == [1]
    with raises("unknown-name", label.event_id):
        decisions.take_back(store, label.event_id, "twice")


def test_correction_is_a_new_event_that_its_annotator_cannot_undo(each_store):
    store = each_store
    queue = queue_of(store, 1)
    claim = queue.next("ann")
    queue.submit("ann", claim.id, judgment((1, 2), comment="x", form={"a": 1}), request_key="1")
    [old] = store.labels()
    new_id = decisions.correct(store, old.event_id, [2, 1], "she meant B")
    [new] = store.labels()
    assert (new.event_id, new.annotator, new.ranks) == (new_id, "ann", [2, 1])
    assert (new.order_shown, new.seconds) == (old.order_shown, old.seconds)
    assert new.extra == {
        "comment": "x",
        "corrected": {
            "by": "(administrator)",
            "event_id": old.event_id,
            "reason": "she meant B",
        },
    }
    assert [row["kind"] for row in rows_of(store, "events").rows] == ["submit", "undo", "submit"]
    assert queue.undo("ann", request_key="u") is None
    assert queue.next("bob") is None  # the place stays taken
    with raises("bad-label", "[1]"):
        decisions.correct(store, new_id, [1], "too short")
    with raises("missing-key"):
        decisions.correct(store, new_id, [1, 2], "  ")
    assert [label.event_id for label in store.labels()] == [new_id]


@pytest.mark.parametrize("action", [decisions.exclude, decisions.reopen, decisions.contest])
def test_decision_about_an_unknown_item_raises(store, action):
    with raises("unknown-name", 7):
        action(store, 7, "why")


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, [3, 2, 1]),
        ({"text": "prompt 1"}, [2]),
        ({"text": "GRÜSSE"}, []),
        ({"text": "grüße"}, [3, 2, 1]),
        ({"text": "short"}, [2]),
        ({"annotator": "bob"}, [2, 1]),
        ({"annotator": "ann", "has": "skip"}, [2]),
        ({"model": "m3"}, [2]),
        ({"category": "chat"}, [3, 1]),
        ({"has": "comment"}, [2]),
        ({"has": "correction"}, []),
        ({"flag": "unsafe"}, [2]),
        ({"min_disagreement": 0.5}, [1]),
        ({"state": "done"}, [1]),
        ({"state": "open"}, [2]),
        ({"state": "unlabelled"}, [3]),
        ({"sort": "disagreement"}, [1, 2, 3]),
        ({"sort": "skips"}, [2, 1, 3]),
    ],
)
def test_browser_filters_and_sorts(browsed, wanted, ids):
    page = browse(browsed, Histories(browsed).get(), ItemFilter(**wanted), 2)
    assert [row.item.id for row in page.rows] == ids
    assert page.total == len(ids)


def test_browser_row_and_pages(browsed, monkeypatch):
    monkeypatch.setattr("rlhf.labels.review.browse.PAGE_SIZE", 2)
    monkeypatch.setattr("rlhf.labels.review.browse.CHUNK", 2)
    histories = Histories(browsed).get()
    page = browse(browsed, histories, ItemFilter(), 2)
    assert (len(page.rows), page.total, page.pages) == (2, 3, 2)
    row = page.rows[1]
    assert (row.labels, row.skips, row.comments) == (1, 1, 2)
    assert (row.annotators, row.flags, row.disagreement) == (["ann", "bob"], ["unsafe"], None)
    last = browse(browsed, histories, ItemFilter(page=9), 2)
    assert [row.item.id for row in last.rows] == [1]
    assert last.rows[0].disagreement == 1.0


def test_histories_read_new_events_and_notice_erasure(browsed):
    histories = Histories(browsed)
    assert len(histories.get()[1].standing) == 2
    browsed.undo(histories.get()[1].standing[0].event_id)
    assert [label.annotator for label in histories.get()[1].standing] == ["bob"]
    erase_person(browsed, "bob")
    known = histories.get()
    assert known[1].standing == []
    assert len(known[2].standing) == 1
    browsed.submit(Label(item_id=3, annotator="ann", ranks=(1, 2)))
    assert len(histories.get()[3].standing) == 1
