"""What PostgreSQL does otherwise than SQLite. Everything else is tested with both at once."""

import re
import threading
from collections import Counter

import pytest
import sqlalchemy as sa

from rlhf.errors import ConfigError, DataError
from rlhf.labels.cli import main
from rlhf.labels.database import shown
from rlhf.labels.queue import Answer, Queue
from rlhf.labels.records import Candidate, Label
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore

PAIRS = [Candidate(prompt=f"p{i}", responses=("a", "b")) for i in range(10)]


def test_claims_of_many_connections_never_overlap(location_of_postgres):
    """Two processes' worth of connections, 8 threads, 10 items of 3 places: 30 labels, no item
    over its places, nobody twice."""
    with LabelStore(location_of_postgres, create=True) as store:
        store.add_candidates(PAIRS)

    def work(queue: Queue, annotator: str) -> None:
        claim = queue.next(annotator)
        while claim is not None:
            answer = Answer(ranks=[1, 2], seconds=1.0)
            _, claim = queue.submit(annotator, claim.id, answer, request_key=f"k{claim.id}")

    with LabelStore(location_of_postgres) as one, LabelStore(location_of_postgres) as other:
        queues = [Queue(store, QueueConfig(overlap=3)) for store in (one, other)]
        people = [(queues[number % 2], f"ann{number}") for number in range(8)]
        threads = [threading.Thread(target=work, args=person) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        labels = one.labels()
    assert Counter(label.item_id for label in labels) == dict.fromkeys(range(1, 11), 3)
    assert len({(label.item_id, label.annotator) for label in labels}) == 30


def test_one_process_serves_a_store(location_of_postgres):
    with (
        LabelStore(location_of_postgres, create=True) as one,
        LabelStore(location_of_postgres) as other,
    ):
        with one.served(), pytest.raises(ConfigError, match="another process"), other.served():
            pass
        with other.served():
            pass


def test_a_database_that_was_restarted_costs_nothing(location_of_postgres):
    """Every connection is ended from the server's side; the next click goes through."""
    with LabelStore(location_of_postgres, create=True) as store:
        store.add_candidates(PAIRS)
        with sa.create_engine(location_of_postgres).connect() as other:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> "
            other.exec_driver_sql(others + "pg_backend_pid() AND usename = 'rlhf'")
        store.submit(Label(item_id=1, annotator="ann", ranks=(1, 2), order_shown=(0, 1)))
        assert len(store.labels()) == 1


def test_the_commands_take_a_url(location_of_postgres, tmp_path, capsys):
    rows = tmp_path / "rankings.jsonl"
    rows.write_text('{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2], "annotator": "x"}\n')
    store = ["--store", location_of_postgres]
    assert main(["import", *store, str(rows)]) == 0
    assert main(["stats", *store]) == 0
    assert main(["export", *store, "--output", str(tmp_path / "out.jsonl")]) == 0
    assert main(["erase", *store, "x"]) == 0
    assert re.search("1 labels on 1 of 1 items", capsys.readouterr().out)
    assert '"annotator": "x"' in (tmp_path / "out.jsonl").read_text()


def test_passwords_are_not_shown():
    assert shown("postgresql+psycopg://me:secret@db/labels") == (
        "postgresql+psycopg://me:***@db/labels"
    )
    assert shown("labels.sqlite") == shown("sqlite:///labels.sqlite") == "labels.sqlite"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+none://me:secret@db/x", "cannot be read"),
        ("postgresql+asyncpg://me:secret@db/x", "asyncpg"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "cannot be used as a label store"),
    ],
)
def test_urls_that_lead_nowhere_are_refused_in_words(url, words):
    pytest.importorskip("psycopg")
    with pytest.raises(DataError, match=words) as refused:
        LabelStore(url)
    assert "secret" not in str(refused.value)
