"""Connections to a label store: one at a time, behind a lock.

One process serves a store. On SQLite the journal is DELETE with synchronous=FULL, so that an
acknowledged label survives a power cut (WAL of SQLite before 3.51 can corrupt a database that
several connections write).
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.database import begin, display_location, only_server, open_engine, unusable
from rlhf.labels.migrate import migrate, version_of
from rlhf.labels.schema import SCHEMA_VERSION


class Connections:
    """An open store, whose tables are of this version.

    Args:
        location: a file for SQLite, or any SQLAlchemy URL.
        create: make an empty store if there is none; False raises instead.

    Raises:
        DataError: no store there (with create=False), a file that is not a store, or a store that
            a newer version wrote.
    """

    def __init__(self, location: str | Path, *, create: bool) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._engine = open_engine(location, create=create)
        try:
            with self.read() as connection:
                is_current = version_of(connection) == SCHEMA_VERSION
            if not is_current:
                with self.write() as connection:
                    migrate(connection, location, create=create)
        except sa.exc.SQLAlchemyError as error:
            self._engine.dispose()
            raise unusable(location, error) from error

    def close(self) -> None:
        """Close all connections. Every later call but `close` raises."""
        self._closed = True
        self._engine.dispose()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, applied whole or not at all; it takes the write lock at its start."""
        with self._lock, self._open_engine.connect() as connection:
            begin(connection)
            yield connection
            connection.commit()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for reading, after this process's writes.

        Without the wait SQLite lets both sides sleep and retry until they miss each other.
        """
        with self._lock, self._open_engine.connect() as connection:
            yield connection

    def serving_lock(self) -> AbstractContextManager[None]:
        """Hold the store as its one serving process; raises `ConfigError` if another does."""
        return only_server(self._open_engine)

    @property
    def _open_engine(self) -> sa.Engine:
        """The engine; SQLAlchemy itself would connect again after `dispose`."""
        if self._closed:
            raise DataError(
                f"the label store {display_location(self._engine.url)} is closed; open it again "
                "with LabelStore(…).",
                code="bad-store",
            )
        return self._engine
