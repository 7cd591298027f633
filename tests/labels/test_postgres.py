"""Behaviour particular to PostgreSQL; the other tests run with both databases."""

import re
import threading
from collections import Counter

import pytest
import sqlalchemy as sa

from rlhf.labels.cli import main
from rlhf.labels.database import display_location
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate, Judgment, Label
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from tests.errors import raises

PAIRS = [Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(10)]


def test_claims_of_many_connections_never_overlap(location_of_postgres):
    """Two stores with 8 threads, 10 items with 3 places: 30 labels, no item has more than 3, no
    annotator labels one twice."""
    with LabelStore(location_of_postgres, create=True) as store:
        store.add_candidates(PAIRS)

    def work(queue: Queue, annotator: str) -> None:
        claim = queue.next(annotator)
        while claim is not None:
            judgment = Judgment(ranks=[1, 2], seconds=1.0)
            _, claim = queue.submit(annotator, claim.id, judgment, request_key=f"k{claim.id}")

    with LabelStore(location_of_postgres) as one, LabelStore(location_of_postgres) as other:
        queues = [Queue(store, QueueConfig(overlap=3)) for store in (one, other)]
        workers = [(queues[number % 2], f"ann{number}") for number in range(8)]
        threads = [threading.Thread(target=work, args=worker) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        labels = one.labels()
    assert Counter(label.item_id for label in labels) == dict.fromkeys(range(1, 11), 3)
    assert len({(label.item_id, label.annotator) for label in labels}) == 30


def test_second_process_cannot_serve_a_store(location_of_postgres):
    with (
        LabelStore(location_of_postgres, create=True) as one,
        LabelStore(location_of_postgres) as other,
    ):
        with (
            one.serving_lock(),
            raises("busy"),
            other.serving_lock(),
        ):
            pass
        with other.serving_lock():
            pass


def test_store_reconnects_after_a_database_restart(location_of_postgres):
    """The server ends every connection; the next label is stored."""
    with LabelStore(location_of_postgres, create=True) as store:
        store.add_candidates(PAIRS)
        with sa.create_engine(location_of_postgres).connect() as other:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> "
            other.exec_driver_sql(others + "pg_backend_pid() AND usename = 'rlhf'")
        store.submit(Label(item_id=1, annotator="ann", ranks=(1, 2), order_shown=(0, 1)))
        assert len(store.labels()) == 1


def test_commands_take_a_url(location_of_postgres, tmp_path, capsys):
    rows = tmp_path / "rankings.jsonl"
    rows.write_text('{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2], "annotator": "x"}\n')
    store = ["--store", location_of_postgres]
    assert main(["import", *store, str(rows)]) == 0
    assert main(["stats", *store]) == 0
    assert main(["export", *store, "--output", str(tmp_path / "out.jsonl")]) == 0
    assert main(["erase", *store, "x"]) == 0
    assert re.search("1 label on 1 of 1 item", capsys.readouterr().out)
    assert '"annotator": "x"' in (tmp_path / "out.jsonl").read_text()


def test_passwords_are_not_shown():
    assert display_location("postgresql+psycopg://me:secret@db/labels") == (
        "postgresql+psycopg://me:***@db/labels"
    )
    assert (
        display_location("labels.sqlite")
        == display_location("sqlite:///labels.sqlite")
        == "labels.sqlite"
    )


@pytest.mark.parametrize(
    ("url", "code", "name"),
    [
        ("postgresql+none://me:secret@db/x", "bad-store", "URL"),
        ("postgresql+asyncpg://me:secret@db/x", "missing-package", "asyncpg"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "bad-store", "127.0.0.1"),
    ],
)
def test_unusable_urls_raise_without_the_password(url, code, name):
    pytest.importorskip("psycopg")
    with raises(code, name) as caught:
        LabelStore(url)
    assert "secret" not in str(caught.value)
