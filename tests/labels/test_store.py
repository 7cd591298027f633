"""The label store: no label is lost or doubled, and unfit labels are rejected."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa

from rlhf.labels.priorities import set_priorities
from rlhf.labels.records import Candidate, Label, order_of
from rlhf.labels.schema import items
from rlhf.labels.store import LabelStore
from tests.errors import raises

PAIR = Candidate(prompt="Who?", responses=("a", "b"), models=("x", "y"), columns={"category": "q"})


@pytest.fixture
def store(each_store):
    return each_store


def label(item_id: int, annotator: str = "ann", ranks=(1, 2), order=(1, 0)) -> Label:
    return Label(item_id=item_id, annotator=annotator, ranks=ranks, order_shown=order)


def test_candidates_are_stored_unchanged_and_once(store):
    messages = Candidate(prompt=[{"role": "user", "content": "hé\n\x00"}], responses=("", "ü", "ü"))
    first, second = store.add_candidates([PAIR, messages])
    assert store.add_candidates([messages, PAIR]) == [second, first]
    one, two = store.items()
    assert (one.prompt, one.responses, one.models) == ("Who?", ("a", "b"), ("x", "y"))
    assert one.columns == {"category": "q"}
    assert (two.prompt, two.responses) == (messages.prompt, messages.responses)


def test_undone_label_can_be_submitted_again(store):
    [item_id] = store.add_candidates([PAIR])
    event_id = store.submit(label(item_id))
    store.undo(event_id)
    assert store.labels() == []
    with raises("unknown-name", event_id):
        store.undo(event_id)
    second_id = store.submit(label(item_id, ranks=(2, 1)))
    [stored] = store.labels()
    assert (stored.event_id, tuple(stored.ranks)) == (second_id, (2, 1))


def test_repeated_request_key_adds_nothing(store):
    [item_id] = store.add_candidates([PAIR])
    event_id = store.submit(label(item_id), request_key="click-1")
    assert store.submit(label(item_id), request_key="click-1") == event_id
    assert len(store.labels()) == 1
    undo_id = store.undo(event_id, request_key="undo-1")
    assert store.undo(event_id, request_key="undo-1") == undo_id


@pytest.mark.parametrize(
    ("wrong", "code", "name"),
    [
        (label(99), "unknown-name", 99),
        (label(1, annotator=""), "bad-label", "annotator"),
        (label(1, ranks=(1,)), "bad-label", [1]),
        (label(1, ranks=(0, 1)), "bad-label", [0, 1]),
        (label(1, order=(0, 0)), "bad-label", "order_shown"),
    ],
)
def test_batch_with_an_unfit_label_is_rejected_whole(store, wrong, code, name):
    store.add_candidates([PAIR])
    with raises(code, name):
        store.submit_many([label(1), wrong])
    assert store.labels() == []


@pytest.mark.parametrize(
    ("ranks", "code", "name"),
    [
        ([(1, 2)], "bad-label", "1 list"),
        ([(1, 2), (1,)], "bad-label", [1]),
        ([(1, 2), (0, 1)], "bad-label", [0, 1]),
        ([(1, 2), (1, None)], "bad-value", None),
    ],
)
def test_gold_items_with_unfit_ranks_add_nothing(store, ranks, code, name):
    other = Candidate(prompt="Where?", responses=("a", "b"))
    with raises(code, name):
        store.add_gold([PAIR, other], ranks)
    assert (store.items(), store.gold_ranks()) == ([], {})


@pytest.mark.parametrize(
    ("item_id", "priority", "code"),
    [(2, 0.5, "unknown-name"), (1, -0.5, "bad-value"), (1, math.nan, "bad-value")],
)
def test_unfit_priority_is_rejected_and_sets_none(store, item_id, priority, code):
    store.add_candidates([PAIR])
    with raises(code, item_id):
        set_priorities(store, {1: 0.25, item_id: priority})
    with store.read() as connection:
        assert connection.scalar(sa.select(items.c.priority)) == 0


def test_guidelines_have_versions(store):
    assert [store.add_guideline(text) for text in ("be kind", "be true", "be kind")] == [1, 2, 1]
    assert store.guideline(2) == "be true"
    assert store.newest_guideline() == (2, "be true")
    with raises("unknown-name", 3):
        store.guideline(3)


def test_opening_what_is_not_a_store_raises(tmp_path):
    with raises("missing-file", "none.sqlite"):
        LabelStore(tmp_path / "none.sqlite", create=False)
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to be read as one" * 9)
    with raises("bad-store", "text.sqlite"):
        LabelStore(tmp_path / "text.sqlite")
    with LabelStore(tmp_path / "new.sqlite"):
        pass
    with sqlite3.connect(tmp_path / "new.sqlite") as connection:
        connection.execute("update meta set value = '99'")
    with raises("bad-store", "new.sqlite", 99):
        LabelStore(tmp_path / "new.sqlite")


def test_threads_and_a_second_process_lose_no_label(tmp_path):
    """8 threads of one store and another process write 10 labels each: 90 labels."""
    path = tmp_path / "labels.sqlite"
    with LabelStore(path) as store:
        store.add_candidates([PAIR])
        command = [sys.executable, "-c", WRITER, str(path), "10"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()  # from here on both write

        def write(name: str) -> None:
            for _ in range(10):
                store.submit(label(1, annotator=name))

        threads = [threading.Thread(target=write, args=(f"t{i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        process.communicate(timeout=240)
        assert process.returncode == 0
        assert len(store.labels()) == 90


def test_acknowledged_labels_survive_kill_9(tmp_path):
    path = tmp_path / "labels.sqlite"
    with LabelStore(path) as store:
        store.add_candidates([PAIR])
    command = [sys.executable, "-c", WRITER, str(path), "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    acknowledged = [int(process.stdout.readline()) for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in process.communicate()[0].split("\n")[:-1]]
    with LabelStore(path) as store:
        stored = [one.event_id for one in store.labels()]
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 1  # one reply may have been cut off
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_order_of_ranks():
    assert [order_of((1, 2, 2), i, j) for i, j in ((0, 1), (1, 0), (1, 2))] == [1, -1, 0]


WRITER = """
import sys
from rlhf.labels.records import Label
from rlhf.labels.store import LabelStore
with LabelStore(sys.argv[1]) as store:
    for _ in range(int(sys.argv[2])):
        label = Label(item_id=1, annotator="other", ranks=(1, 2), order_shown=(0, 1))
        print(store.submit(label), flush=True)
"""
