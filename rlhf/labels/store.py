"""The label store: candidates in, one event a click, labels out. SQLite by default.

One process serves, over one connection behind a lock. On SQLite the journal is DELETE with
synchronous=FULL, so that a label that was acknowledged survives a power cut (WAL of SQLite before
3.51 can corrupt a database that several connections write).
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.database import begin, new_id, only_server, open_engine, shown
from rlhf.labels.erase import forget
from rlhf.labels.events import Event, append, append_label
from rlhf.labels.migrate import bring_up_to_date, version_of
from rlhf.labels.records import LABEL, Candidate, Item, Label, StoredLabel, person
from rlhf.labels.schema import (
    GOLD,
    LIVE,
    MARKED,
    OPEN,
    SCHEMA_VERSION,
    SUBMIT,
    UNDO,
    claims,
    events,
    gold,
    guidelines,
    items,
    meta,
)
from rlhf.labels.validation import check_candidate, check_label, check_marked, content_sha256


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
            raise DataError(
                f"{shown(location)} cannot be used as a label store: {reason}."
            ) from error

    def _open(self, location: str | Path, create: bool) -> None:
        with self.read() as connection:
            if version_of(connection) == SCHEMA_VERSION:
                return
        with self.write() as connection:
            bring_up_to_date(connection, location, create=create)

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
    def write(self) -> Iterator[sa.Connection]:
        """One transaction: all of it or none. The right to write is taken at its start."""
        with self._lock, self._engine.connect() as connection:
            begin(connection)
            yield connection
            connection.commit()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read with. It waits for this process's writes: SQLite would have the
        two sleep until they miss each other."""
        with self._lock, self._engine.connect() as connection:
            yield connection

    def served(self) -> AbstractContextManager[None]:
        """Hold the store as the one process that serves it; raises `ConfigError` where another
        does."""
        return only_server(self._engine)

    def add_candidates(self, candidates: Sequence[Candidate]) -> list[int]:
        """The item id of each candidate; one that is there already keeps its id.

        Raises:
            DataError: fewer than two answers, or names of models that do not match them.
        """
        ids: list[int] = []
        with self.write() as connection:
            known = queries.item_ids_by_content(connection)
            for number, candidate in enumerate(candidates, 1):
                check_candidate(candidate, number)
                content = content_sha256(candidate)
                if content not in known:
                    known[content] = _insert(connection, candidate, content, OPEN)
                ids.append(known[content])
        return ids

    def add_marked(self, candidate: Candidate) -> int:
        """The item id of a single answer, for thumbs; no queue asks for it to be ranked.

        Raises:
            DataError: several answers, or an empty one.
        """
        check_marked(candidate)
        content = content_sha256(candidate)
        with self.write() as connection:
            there = connection.scalar(
                sa.select(items.c.id).where(items.c.content_sha256 == content)
            )
            return int(there or _insert(connection, candidate, content, MARKED))

    def add_gold(self, candidates: Sequence[Candidate], ranks: Sequence[Sequence[int]]) -> None:
        """Items whose right ranks are known: shown to everybody in between, and labelled by
        nobody in earnest.

        Raises:
            DataError: as for candidates, or ranks of another number than answers.
        """
        ids = self.add_candidates(candidates)
        with self.write() as connection:
            for item_id, candidate, known in zip(ids, candidates, ranks, strict=True):
                if len(known) != len(candidate.responses):
                    raise DataError(f"gold ranks {list(known)} do not fit item {item_id}.")
                update = sa.update(items).where(items.c.id == item_id)
                connection.execute(update.values(queue=GOLD))
                connection.execute(sa.delete(gold).where(gold.c.item_id == item_id))
                insert = sa.insert(gold).values(item_id=item_id, ranks=list(known))
                connection.execute(insert)

    def gold_ranks(self) -> dict[int, list[int]]:
        """Item id -> known ranks."""
        with self.read() as connection:
            return {row.item_id: row.ranks for row in connection.execute(sa.select(gold))}

    def set_priorities(self, priorities: Mapping[int, float]) -> None:
        """Item id -> how much its label is wanted, 0 or more; the highest come first."""
        with self.write() as connection:
            for item_id, priority in priorities.items():
                update = sa.update(items).where(items.c.id == item_id)
                connection.execute(update.values(priority=priority))

    def items(self) -> list[Item]:
        """Every item, oldest first."""
        with self.read() as connection:
            return queries.items_of(connection)

    def add_guideline(self, text: str) -> int:
        """The version of this text, 1 for the first; text that is there keeps its version."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        same = sa.select(guidelines.c.version).where(guidelines.c.sha256 == digest)
        with self.write() as connection:
            version = connection.scalar(same)
            if version is None:
                insert = sa.insert(guidelines).values(sha256=digest, text=text)
                version = new_id(connection, insert)
        return int(version)

    def guideline(self, version: int) -> str:
        """The text of one version; raises `DataError` where there is no such version."""
        query = sa.select(guidelines.c.text).where(guidelines.c.version == version)
        with self.read() as connection:
            text = connection.scalar(query)
        if text is None:
            raise DataError(f"the store has no guideline version {version}.")
        return str(text)

    def newest_guideline(self) -> tuple[int, str]:
        """(version, text) of the guideline that was added last; (0, "") where there is none."""
        query = sa.select(guidelines).order_by(guidelines.c.version.desc())
        with self.read() as connection:
            row = connection.execute(query).first()
        return (row.version, row.text) if row is not None else (0, "")

    def setting(self, name: str, default: str = "") -> str:
        """A setting that lives with the store."""
        with self.read() as connection:
            value = connection.scalar(sa.select(meta.c.value).where(meta.c.name == name))
        return default if value is None else str(value)

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting with the store."""
        with self.write() as connection:
            connection.execute(sa.delete(meta).where(meta.c.name == name))
            connection.execute(sa.insert(meta).values(name=name, value=value))

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
        with self.write() as connection:
            sizes = queries.item_sizes(connection, {label.item_id for label in labels})
            ids = []
            for label, key in zip(labels, keys, strict=True):
                check_label(label, sizes)
                ids.append(append_label(connection, label, request_key=key))
        return ids

    def undo(self, event_id: int, *, request_key: str | None = None) -> int:
        """The id of the event that takes the label `event_id` back.

        Raises:
            DataError: no such label, or it was taken back before.
        """
        with self.write() as connection:
            again = queries.event_of_request(connection, request_key)
            if again is not None:
                return again
            query = sa.select(events).where(events.c.id == event_id, events.c.kind == SUBMIT)
            label = connection.execute(query).first()
            taken = sa.select(events.c.id).where(events.c.undoes == event_id)
            if label is None or connection.scalar(taken) is not None:
                raise DataError(f"event {event_id} is no label that can be undone.")
            if label.payload.get("purpose", LABEL) == LABEL:
                queries.add_taken(connection, label.item_id, -1)
            return append(
                connection,
                Event(
                    kind=UNDO,
                    item_id=label.item_id,
                    annotator=label.annotator,
                    request_key=request_key,
                    undoes=event_id,
                ),
            )

    def erase(self, annotator: str) -> int:
        """Forget a person: every event, claim, draft and session of theirs is deleted, and a
        tombstone with the counts, without the name, stays. The number of events deleted.

        Raises:
            DataError: nothing in the store is theirs.
        """
        with self.write() as connection:
            deleted = forget(connection, person(annotator))
        if not deleted.rows:
            raise DataError(f"the store holds nothing of annotator {annotator!r}.")
        return deleted.events

    def labels(self) -> list[StoredLabel]:
        """Every label that stands (submitted, not undone), oldest first."""
        with self.read() as connection:
            return queries.standing_labels(connection)

    def count_events(self) -> dict[str, int]:
        """How many events of each kind stand, undone ones left out."""
        with self.read() as connection:
            return queries.standing_counts(connection)

    def living_claims(self) -> int:
        """How many items are in somebody's hands."""
        query = sa.select(sa.func.count()).select_from(claims).where(claims.c.state == LIVE)
        with self.read() as connection:
            return int(connection.scalar(query) or 0)


def _insert(connection: sa.Connection, candidate: Candidate, content: str, queue: str) -> int:
    insert = sa.insert(items).values(
        content_sha256=content,
        prompt=candidate.prompt,
        responses=list(candidate.responses),
        models=list(candidate.models),
        columns=dict(candidate.columns),
        queue=queue,
    )
    return new_id(connection, insert)
