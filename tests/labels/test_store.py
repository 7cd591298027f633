"""The label store: nothing lost, nothing doubled, nothing that does not fit gets in."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from rlhf.errors import DataError
from rlhf.labels.records import Candidate, Label, order_of
from rlhf.labels.store import LabelStore

PAIR = Candidate(prompt="Who?", responses=("a", "b"), models=("x", "y"), columns={"category": "q"})


@pytest.fixture
def store(location):
    with LabelStore(location, create=True) as store:
        yield store


def label(item_id: int, annotator: str = "ann", ranks=(1, 2), order=(1, 0)) -> Label:
    return Label(item_id=item_id, annotator=annotator, ranks=ranks, order_shown=order)


def test_candidates_come_back_as_they_went_in_and_only_once(store):
    talk = Candidate(prompt=[{"role": "user", "content": "hé\n\x00"}], responses=("", "ü", "ü"))
    first, second = store.add_candidates([PAIR, talk])
    assert store.add_candidates([talk, PAIR]) == [second, first]
    one, two = store.items()
    assert (one.prompt, one.responses, one.models) == ("Who?", ("a", "b"), ("x", "y"))
    assert one.columns == {"category": "q"}
    assert (two.prompt, two.responses) == (talk.prompt, talk.responses)


def test_undo_is_an_event_and_the_label_can_be_given_again(store):
    [item] = store.add_candidates([PAIR])
    event = store.submit(label(item))
    store.undo(event)
    assert store.labels() == []
    with pytest.raises(DataError, match="no label that can be undone"):
        store.undo(event)
    again = store.submit(label(item, ranks=(2, 1)))
    [stands] = store.labels()
    assert (stands.event_id, tuple(stands.ranks)) == (again, (2, 1))


def test_a_repeated_request_adds_nothing(store):
    [item] = store.add_candidates([PAIR])
    first = store.submit(label(item), request_key="click-1")
    assert store.submit(label(item), request_key="click-1") == first
    assert len(store.labels()) == 1
    undo = store.undo(first, request_key="undo-1")
    assert store.undo(first, request_key="undo-1") == undo


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (label(99), "item 99 is not in the store"),
        (label(1, annotator=""), "names no annotator"),
        (label(1, ranks=(1,)), "do not fit the 2 answers"),
        (label(1, ranks=(0, 1)), "one rank, 1 or more"),
        (label(1, order=(0, 0)), "is no order of its 2 answers"),
    ],
)
def test_labels_that_do_not_fit_are_refused_whole(store, wrong, words):
    store.add_candidates([PAIR])
    with pytest.raises(DataError, match=words):
        store.submit_many([label(1), wrong])
    assert store.labels() == []  # the good one of the same batch is not half of it


def test_guidelines_have_versions(store):
    assert [store.add_guideline(text) for text in ("be kind", "be true", "be kind")] == [1, 2, 1]
    assert store.guideline(2) == "be true"
    with pytest.raises(DataError, match="no guideline version 3"):
        store.guideline(3)


def test_what_is_no_store_is_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="no label store"):
        LabelStore(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to be looked at" * 9)
    with pytest.raises(DataError, match="file is not a database"):
        LabelStore(tmp_path / "text.sqlite")
    with LabelStore(tmp_path / "new.sqlite", create=True):
        pass
    with sqlite3.connect(tmp_path / "new.sqlite") as connection:
        connection.execute("update meta set value = '99'")
    with pytest.raises(DataError, match="version 99"):
        LabelStore(tmp_path / "new.sqlite")


def test_threads_and_a_second_process_lose_nothing(tmp_path):
    """8 threads of one store and another process write 10 labels each: 90 stand."""
    path = tmp_path / "labels.sqlite"
    with LabelStore(path, create=True) as store:
        store.add_candidates([PAIR])
        command = [sys.executable, "-c", WRITER, str(path), "10"]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        other.stdout.readline()  # from here on both write

        def write(name: str) -> None:
            for _ in range(10):
                store.submit(label(1, annotator=name))

        threads = [threading.Thread(target=write, args=(f"t{i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.communicate(timeout=240)
        assert other.returncode == 0
        assert len(store.labels()) == 90


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    path = tmp_path / "labels.sqlite"
    with LabelStore(path, create=True) as store:
        store.add_candidates([PAIR])
    command = [sys.executable, "-c", WRITER, str(path), "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    acknowledged = [int(process.stdout.readline()) for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in process.communicate()[0].split("\n")[:-1]]
    with LabelStore(path) as store:
        stored = [stands.event_id for stands in store.labels()]
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 1  # the one whose reply was cut off
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
        said = Label(item_id=1, annotator="other", ranks=(1, 2), order_shown=(0, 1))
        print(store.submit(said), flush=True)
"""
