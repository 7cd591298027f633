"""The database of the label store: how it is opened, locked and made safe."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from rlhf.errors import ConfigError, DataError
from rlhf.runtime.disk import FULL

BUSY_SECONDS = 30  # a process waits this long for another's write
# PostgreSQL's advisory locks: of the writing transaction and of the serving process.
WRITE_LOCK, SERVE_LOCK = 7_205_103, 7_205_104


def open_engine(location: str | Path, *, create: bool) -> sa.Engine:
    """An engine for a file (SQLite) or a SQLAlchemy URL.

    Raises:
        DataError: no such file (with create=False), a file that cannot be created, or a URL whose
            driver is not installed.
    """
    engine = _engine(location, create)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _make_safe)
    return engine


def begin(connection: sa.Connection) -> None:
    """Take the write lock before the first read, so that no read is stale at the write."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")


@contextlib.contextmanager
def only_server(engine: sa.Engine) -> Iterator[None]:
    """Hold the store, so that one process counts the leases; the lock ends with the process.

    Raises:
        ConfigError: another process serves it.
    """
    message = (
        f"{display_location(engine.url)} is served by another process; use its page, or stop it."
    )
    if engine.dialect.name != "sqlite":
        # Autocommit: a transaction that stays open for days keeps old rows from being cleaned up.
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.detach()  # closed at the end, and the lock with it, instead of pooled
            if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(SERVE_LOCK))):
                raise ConfigError(message, code="busy")
            yield
        return
    with Path(f"{engine.url.database}.serving").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(message, code="busy") from error
        yield


def display_location(location: str | Path | sa.URL) -> str:
    """The store's location for messages: the file, or the URL without its password."""
    if isinstance(location, Path) or "://" not in str(location):
        return str(location)
    url = sa.make_url(location) if isinstance(location, str) else location
    if url.get_backend_name() == "sqlite":
        return url.database or "sqlite"
    return url.render_as_string(hide_password=True)


def unusable(location: str | Path, error: sa.exc.SQLAlchemyError) -> DataError:
    """The error for a location that the database could not use."""
    reason = str(error.__cause__ or error).strip().splitlines()[0]
    return DataError(
        f"{display_location(location)} cannot be used as a label store: {reason}.",
        code="bad-store",
    )


def new_id(connection: sa.Connection, insert: sa.Insert) -> int:
    """Run `insert` of one row and return its integer key."""
    key = connection.execute(insert).inserted_primary_key
    assert key is not None  # every table with callers here has one
    return int(key[0])


def _engine(location: str | Path, create: bool) -> sa.Engine:
    if "://" in str(location):
        try:
            # Pre-ping: after a restart of the database it reconnects instead of failing.
            return sa.create_engine(str(location), pool_pre_ping=True)
        except ImportError as error:
            raise DataError(
                f"label store {display_location(str(location))} needs {error.name}; for PostgreSQL "
                "write postgresql+psycopg://… and run `pip install 'rlhf[postgres]'`.",
                code="missing-package",
            ) from error
        except sa.exc.ArgumentError as error:
            raise DataError(
                f"the label store's URL cannot be read: {error}.", code="bad-store"
            ) from error
    path = Path(location)
    if create:
        _create_file(path)
    elif not path.is_file():
        raise DataError(
            f"{path} is not a label store; make one with `rlhf label import`.", code="missing-file"
        )
    return sa.create_engine(sa.URL.create("sqlite", database=str(path)))


def _create_file(path: Path) -> None:
    """Create an empty file and its folder, unless it exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Labels and hashes of tokens are readable by the owner only.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        if error.errno in FULL:
            raise
        raise DataError(
            f"label store {path} cannot be created: {error.strerror}; name another file.",
            code="bad-store",
        ) from error


def _make_safe(connection: sqlite3.Connection, record: object) -> None:
    # None: the store begins transactions itself. By default sqlite3 begins them at the first write,
    # after a read that another process may have made stale.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # erased rows leave the file too
