"""Stores of older versions keep their labels and get the newer tables and columns."""

import json
import sqlite3

from rlhf.labels.access import invite
from rlhf.labels.audit import AuditFilter, entries, record
from rlhf.labels.form_config import FormConfig
from rlhf.labels.form_versions import add_form
from rlhf.labels.people import Person, person_of
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore

VERSION_1 = """
CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL, PRIMARY KEY (name));
CREATE TABLE guidelines (version INTEGER NOT NULL, sha256 VARCHAR NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (version), UNIQUE (sha256));
CREATE TABLE items (id INTEGER NOT NULL, content_sha256 VARCHAR NOT NULL, prompt JSON NOT NULL,
  responses JSON NOT NULL, models JSON NOT NULL, columns JSON NOT NULL, PRIMARY KEY (id),
  UNIQUE (content_sha256));
CREATE TABLE events (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, kind VARCHAR NOT NULL,
  item_id INTEGER NOT NULL, annotator VARCHAR NOT NULL, at FLOAT NOT NULL, request_key VARCHAR,
  undoes INTEGER, payload JSON NOT NULL, UNIQUE (request_key), UNIQUE (undoes),
  FOREIGN KEY(item_id) REFERENCES items (id), FOREIGN KEY(undoes) REFERENCES events (id));
CREATE INDEX ix_events_item_id ON events (item_id);
CREATE INDEX ix_events_annotator ON events (annotator);
INSERT INTO meta VALUES ('schema_version', '1');
INSERT INTO items VALUES (1, 'x', '"p"', '["a", "b"]', '[]', '{}');
INSERT INTO items VALUES (2, 'y', '"q"', '["a", "b"]', '[]', '{"k": 1}');
"""
PAYLOAD = {"ranks": [2, 1], "order_shown": [0, 1], "seconds": None, "guideline_version": 0}


def test_version_1_is_migrated_with_its_labels(tmp_path):
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1)
        payload = json.dumps({**PAYLOAD, "strength": 1.0, "extra": {}})
        insert = "INSERT INTO events VALUES (?, ?, 1, 'ann', 0.0, NULL, ?, ?)"
        connection.execute(insert, (1, "submit", None, payload))
        connection.execute(insert, (2, "undo", 1, "{}"))
        connection.execute(insert, (3, "submit", None, payload))
    for _ in range(2):  # the second time there is nothing to migrate
        with LabelStore(path) as store:
            [label] = store.labels()
            assert (label.event_id, label.ranks, label.purpose) == (3, [2, 1], "label")
            queue = Queue(store, QueueConfig(overlap=1))
            assert queue.next("bob").item.id == 2  # the label of item 1 takes its only place
            wider = Queue(store, QueueConfig(overlap=3))
            assert wider.next("ann").item.id == 2  # it is hers
    with LabelStore(tmp_path / "new.sqlite", create=True):
        pass
    assert names(tmp_path / "new.sqlite") == names(path)


def test_version_2_and_3_get_columns_indexes_and_tables_of_version_7(tmp_path):
    for version in ("2", "3"):
        path = tmp_path / f"old{version}.sqlite"
        with LabelStore(path, create=True) as store:
            store.add_candidates([Candidate(prompt="p", responses=("a", "b"))])
            invite(store, "ann")
        new = names(path)
        with sqlite3.connect(path) as connection:
            for index in ("ix_items_next", "ix_items_requires", "ix_events_without_claim"):
                connection.execute(f"DROP INDEX {index}")
            columns = {"items": ("extra", "requires"), "people": ("role", "paused", "cap", "tags")}
            for table, added in columns.items():
                for column in added:
                    connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
            for table in ("questions", "pre_labels", "audit", "forms"):
                connection.execute(f"DROP TABLE {table}")
            old = "ix_items_next" if version == "3" else "ix_items_queue_priority"
            connection.execute(f"CREATE INDEX {old} ON items (queue, priority, id)")
            connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", version)
        with LabelStore(path) as store:
            assert Queue(store, QueueConfig()).next("ann").item.prompt == "p"
            with store.read() as connection:
                assert person_of(connection, "ann") == Person(
                    name="ann", has_access=True, tags_matter=False
                )
        assert names(path) == new


def test_version_4_gets_the_audit(tmp_path):
    path = tmp_path / "old.sqlite"
    with LabelStore(path, create=True) as store:
        invite(store, "ann")
    new = names(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE audit")
        connection.execute("UPDATE meta SET value = '4' WHERE name = 'schema_version'")
    with LabelStore(path) as store, store.write() as connection:
        record(connection, who="ann", role="annotator", action="POST /login")
        [entry] = entries(connection, AuditFilter())
        assert (entry.who, entry.action) == ("ann", "POST /login")
    assert names(path) == new


def test_version_5_gets_the_forms_and_keeps_its_labels(tmp_path):
    """A label of that version has no version of the form: 0."""
    path = tmp_path / "old.sqlite"
    with LabelStore(path, create=True) as store:
        store.add("p", ["a", "b"], ranks=[1, 2], annotator="ann")
    new = names(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE forms")
        payload = "json_remove(payload, '$.form_version')"
        connection.execute(f"UPDATE events SET payload = {payload}")
        connection.execute("UPDATE meta SET value = '5' WHERE name = 'schema_version'")
    with LabelStore(path) as store:
        [label] = store.labels()
        assert (label.ranks, label.form_version) == ([1, 2], 0)
        with store.write() as connection:
            assert add_form(connection, FormConfig()) == 1
    assert names(path) == new


def test_version_6_gets_the_index_of_labels_without_a_claim(tmp_path):
    path = tmp_path / "old.sqlite"
    with LabelStore(path, create=True) as store:
        store.add("p", ["a", "b"], ranks=[1, 2], annotator="ann")
    new = names(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP INDEX ix_events_without_claim")
        connection.execute("UPDATE meta SET value = '6' WHERE name = 'schema_version'")
    with LabelStore(path) as store:
        assert [label.ranks for label in store.labels()] == [[1, 2]]
    assert names(path) == new


def names(path):
    """Tables and indexes of a store, without SQLite's own."""
    rows = sqlite3.connect(path).execute("select name from sqlite_master")
    return {name for (name,) in rows if not name.startswith("sqlite_")}
