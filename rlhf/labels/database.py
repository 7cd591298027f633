"""The database under the label store: where it is, and what makes SQLite safe."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rlhf.errors import ConfigError, DataError

BUSY_SECONDS = 30  # how long one process waits for another's write
# PostgreSQL's advisory locks: of the one transaction that writes, of the one process that serves.
WRITE_LOCK, SERVE_LOCK = 7_205_103, 7_205_104


def open_engine(location: str | Path, *, create: bool) -> sa.Engine:
    """An engine for a file (SQLite) or a SQLAlchemy URL.

    Raises:
        DataError: no such file and not `create`, or a URL whose driver is not installed.
    """
    engine = _engine(location, create)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _make_safe)
    return engine


def begin(connection: sa.Connection) -> None:
    """Take the right to write before the first read, so that no read is stale by the write."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")


@contextlib.contextmanager
def only_server(engine: sa.Engine) -> Iterator[None]:
    """Hold the store, so that leases are counted by one process; the lock ends with the process.

    Raises:
        ConfigError: another server has it.
    """
    held = f"{shown(engine.url)} is served by another process; use its page."
    if engine.dialect.name != "sqlite":
        # Autocommit: a transaction that stays open for days keeps old rows from being cleaned up.
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.detach()  # closed at the end, and the lock with it, instead of pooled
            if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(SERVE_LOCK))):
                raise ConfigError(held)
            yield
        return
    with Path(f"{engine.url.database}.serving").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(held) from error
        yield


def shown(location: str | Path | sa.URL) -> str:
    """A store's name for people: the file, or the URL without its password."""
    if isinstance(location, Path) or "://" not in str(location):
        return str(location)
    url = sa.make_url(location) if isinstance(location, str) else location
    if url.get_backend_name() == "sqlite":
        return url.database or "sqlite"
    return url.render_as_string(hide_password=True)


def new_id(connection: sa.Connection, insert: sa.Insert) -> int:
    """Run `insert` of one row and return its integer key."""
    key = connection.execute(insert).inserted_primary_key
    assert key is not None  # every table that this is called for has one
    return int(key[0])


def _engine(location: str | Path, create: bool) -> sa.Engine:
    if "://" in str(location):
        try:
            # Pre-ping: a database that was restarted costs a new connection, not an error.
            return sa.create_engine(str(location), pool_pre_ping=True)
        except ImportError as error:
            raise DataError(
                f"label store {shown(str(location))} needs {error.name}; for PostgreSQL write "
                "postgresql+psycopg://… and install it with pip install -e '.[postgres]'."
            ) from error
        except sa.exc.ArgumentError as error:
            raise DataError(f"the label store's URL cannot be read: {error}.") from error
    path = Path(location)
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What people said, and the hashes of their tokens, are for the owner's eyes.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    elif not path.is_file():
        raise DataError(f"{path} is no label store; make one with `rlhf label import`.")
    return sa.create_engine(sa.URL.create("sqlite", database=str(path)))


def _make_safe(connection: sqlite3.Connection, record: Any) -> None:
    # None: transactions begin where the store says so; sqlite3 alone begins them at the first
    # write, after a read that another process may have made stale.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # who is erased is not in the file either
