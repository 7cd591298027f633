"""The label store: candidates in, one event a click, labels out. SQLite by default.

One process writes, over one connection behind a lock; any number may read. On SQLite the journal
is DELETE with synchronous=FULL, so that a label that was acknowledged survives a power cut (WAL
of SQLite before 3.51 can corrupt a database that several connections write).
"""

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.checks import check_candidate, check_label, content_sha256
from rlhf.labels.database import new_id, open_engine
from rlhf.labels.records import Candidate, Item, Label, StoredLabel
from rlhf.labels.schema import (
    SCHEMA_VERSION,
    SUBMIT,
    UNDO,
    events,
    guidelines,
    items,
    meta,
    metadata,
)


class LabelStore:
    """Open a store; `with LabelStore(path) as store` closes it.

    Args:
        location: a file for SQLite, or any SQLAlchemy URL (`postgresql+psycopg://…`).
        create: make an empty store where there is none.

    Raises:
        DataError: no store there (and not `create`), a file that is not a store, or one that a
            newer version wrote.
    """

    def __init__(self, location: str | Path, *, create: bool = False) -> None:
        self._lock = threading.Lock()
        self._engine = open_engine(location, create=create)
        try:
            self._open(location, create)
        except sa.exc.SQLAlchemyError as error:
            self._engine.dispose()
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise DataError(f"{location} cannot be used as a label store: {reason}.") from error

    def _open(self, location: str | Path, create: bool) -> None:
        if create:
            with self._write() as connection:
                metadata.create_all(connection)
                present = connection.execute(sa.select(meta.c.value)).first()
                if present is None:
                    row = {"name": "schema_version", "value": str(SCHEMA_VERSION)}
                    connection.execute(sa.insert(meta), row)
        with self._engine.connect() as connection:
            found = connection.scalar(
                sa.select(meta.c.value).where(meta.c.name == "schema_version")
            )
        if found != str(SCHEMA_VERSION):
            raise DataError(
                f"{location} is a label store of version {found}; this rlhf reads version "
                f"{SCHEMA_VERSION}; open it with the rlhf that wrote it."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """One transaction: all of it or none. SQLite takes its write lock at the start."""
        with self._lock, self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def add_candidates(self, candidates: Sequence[Candidate]) -> list[int]:
        """The item id of each candidate; one that is there already keeps its id.

        Raises:
            DataError: fewer than two answers, or names of models that do not match them.
        """
        ids: list[int] = []
        with self._write() as connection:
            known = queries.item_ids_by_content(connection)
            for number, candidate in enumerate(candidates, 1):
                check_candidate(candidate, number)
                content = content_sha256(candidate)
                if content not in known:
                    insert = sa.insert(items).values(
                        content_sha256=content,
                        prompt=candidate.prompt,
                        responses=list(candidate.responses),
                        models=list(candidate.models),
                        columns=dict(candidate.columns),
                    )
                    known[content] = new_id(connection, insert)
                ids.append(known[content])
        return ids

    def items(self) -> list[Item]:
        """Every item, oldest first."""
        with self._engine.connect() as connection:
            return queries.items_of(connection)

    def add_guideline(self, text: str) -> int:
        """The version of this text, 1 for the first; text that is there keeps its version."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        same = sa.select(guidelines.c.version).where(guidelines.c.sha256 == digest)
        with self._write() as connection:
            version = connection.scalar(same)
            if version is None:
                insert = sa.insert(guidelines).values(sha256=digest, text=text)
                version = new_id(connection, insert)
        return int(version)

    def guideline(self, version: int) -> str:
        """The text of one version; raises `DataError` where there is no such version."""
        query = sa.select(guidelines.c.text).where(guidelines.c.version == version)
        with self._engine.connect() as connection:
            text = connection.scalar(query)
        if text is None:
            raise DataError(f"the store has no guideline version {version}.")
        return str(text)

    def submit(self, label: Label, *, request_key: str | None = None) -> int:
        """The event id of the label, on disk when this returns.

        request_key: the client's own name of the click. The same key again gives the first
        event's id and adds nothing, so that a lost reply can be retried.
        """
        return self.submit_many([label], request_keys=[request_key])[0]

    def submit_many(
        self, labels: Sequence[Label], *, request_keys: Sequence[str | None] | None = None
    ) -> list[int]:
        """`submit` for many labels in one transaction.

        Raises:
            DataError: no such item, ranks or order that do not fit its answers, no annotator.
        """
        keys = request_keys if request_keys is not None else [None] * len(labels)
        with self._write() as connection:
            sizes = queries.item_sizes(connection, {label.item_id for label in labels})
            ids = []
            for label, key in zip(labels, keys, strict=True):
                check_label(label, sizes)
                said = queries.payload_of(label)
                ids.append(
                    self._append(connection, SUBMIT, label.item_id, label.annotator, key, said)
                )
        return ids

    def undo(self, event_id: int, *, request_key: str | None = None) -> int:
        """The id of the event that takes the label `event_id` back.

        Raises:
            DataError: no such label, or it was taken back before.
        """
        with self._write() as connection:
            again = queries.event_of_request(connection, request_key)
            if again is not None:
                return again
            query = sa.select(events).where(events.c.id == event_id, events.c.kind == SUBMIT)
            label = connection.execute(query).first()
            taken = sa.select(events.c.id).where(events.c.undoes == event_id)
            if label is None or connection.scalar(taken) is not None:
                raise DataError(f"event {event_id} is no label that can be undone.")
            return self._append(
                connection, UNDO, label.item_id, label.annotator, request_key, {}, event_id
            )

    def labels(self) -> list[StoredLabel]:
        """Every label that stands (submitted, not undone), oldest first."""
        with self._engine.connect() as connection:
            return queries.standing_labels(connection)

    def _append(
        self,
        connection: sa.Connection,
        kind: str,
        item_id: int,
        annotator: str,
        request_key: str | None,
        payload: Mapping[str, Any],
        undoes: int | None = None,
    ) -> int:
        again = queries.event_of_request(connection, request_key)
        if again is not None:
            return again
        insert = sa.insert(events).values(
            kind=kind,
            item_id=item_id,
            annotator=annotator,
            at=time.time(),
            request_key=request_key,
            undoes=undoes,
            payload=payload,
        )
        return new_id(connection, insert)
