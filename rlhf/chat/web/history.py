"""Conversations on disk: one SQLite file, whose rows are the turns of each conversation."""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.chat.web.conversation_tree import Turn
from rlhf.errors import DataError

VERSION = 1
BUSY_SECONDS = 30.0  # another server may write to the same file
MAX_LISTED = 500
_TABLES = """
CREATE TABLE conversations (
    id TEXT NOT NULL, owner TEXT NOT NULL, title TEXT NOT NULL, leaf TEXT,
    created REAL NOT NULL, updated REAL NOT NULL, PRIMARY KEY (owner, id));
CREATE TABLE turns (
    number INTEGER PRIMARY KEY, owner TEXT NOT NULL, conversation TEXT NOT NULL,
    id TEXT NOT NULL, content TEXT NOT NULL, searched TEXT NOT NULL,
    UNIQUE (owner, conversation, id),
    FOREIGN KEY (owner, conversation) REFERENCES conversations (owner, id) ON DELETE CASCADE);
CREATE TABLE blind_names (number INTEGER PRIMARY KEY, blind TEXT NOT NULL, name TEXT NOT NULL);
"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A conversation in the list."""

    id: str
    title: str
    updated: float  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class StoredConversation:
    """A conversation with all its branches."""

    id: str
    title: str
    leaf: str | None  # the turn at the end of the branch that was shown last
    turns: Sequence[Turn]  # in the order in which they were made


class ChatHistory:
    """The conversations of each owner. The file is created with the first one, mode 0600."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()  # requests come on several threads
        self._connection: sqlite3.Connection | None = None
        if self.path.exists():
            with self._lock:
                self._open()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def summaries(self, owner: str, query: str = "") -> list[Summary]:
        """The owner's conversations whose title or texts contain `query`, the newest first."""
        sought = query.casefold()
        sql = """SELECT id, title, updated FROM conversations AS c WHERE owner = ? AND EXISTS (
            SELECT 1 FROM turns AS t WHERE t.owner = c.owner AND t.conversation = c.id
            AND (instr(t.searched, ?) OR instr(casefold(c.title), ?)))
            ORDER BY updated DESC, id LIMIT ?"""
        with self._reading() as connection:
            if connection is None:
                return []
            rows = connection.execute(sql, (owner, sought, sought, MAX_LISTED)).fetchall()
        return [Summary(id=key, title=title, updated=updated) for key, title, updated in rows]

    def read(self, owner: str, key: str) -> StoredConversation:
        """A conversation with its turns.

        Raises:
            DataError: the owner has no such conversation.
        """
        with self._reading() as connection:
            found = (
                connection
                and connection.execute(
                    "SELECT title, leaf FROM conversations WHERE owner = ? AND id = ?", (owner, key)
                ).fetchone()
            )
            if connection is None or not found:
                raise _unknown(key)
            rows = connection.execute(
                "SELECT content FROM turns WHERE owner = ? AND conversation = ? ORDER BY number",
                (owner, key),
            ).fetchall()
        turns = [Turn.model_validate_json(content) for (content,) in rows]
        return StoredConversation(id=key, title=found[0], leaf=found[1], turns=turns)

    def save(
        self, owner: str, key: str, *, title: str, leaf: str | None, turns: Sequence[Turn]
    ) -> None:
        """Add turns to a conversation, or replace those with the same ids.

        Args:
            owner: whose conversation it is.
            key: its id; a new one begins a conversation.
            title: title of a new conversation; an existing one keeps its own.
            leaf: the last turn of the branch that is shown.
            turns: new and changed turns.
        """
        now = time.time()
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner, id) "
                "DO UPDATE SET leaf = excluded.leaf, updated = excluded.updated",
                (key, owner, title, leaf, now, now),
            )
            for turn in turns:
                content = turn.model_dump_json(exclude_defaults=True)
                connection.execute(
                    "INSERT INTO turns (owner, conversation, id, content, searched) "
                    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (owner, conversation, id) "
                    "DO UPDATE SET content = excluded.content, searched = excluded.searched",
                    (owner, key, turn.id, content, _searched(turn)),
                )

    def rename(self, owner: str, key: str, title: str) -> None:
        """Give a conversation another title.

        Raises:
            DataError: the owner has no such conversation.
        """
        with self._writing() as connection:
            changed = connection.execute(
                "UPDATE conversations SET title = ? WHERE owner = ? AND id = ?", (title, owner, key)
            )
            if not changed.rowcount:
                raise _unknown(key)

    def delete(self, owner: str, key: str) -> None:
        """Delete a conversation; its texts leave the file too. Deleting it again does nothing."""
        with self._writing() as connection:
            connection.execute("DELETE FROM conversations WHERE owner = ? AND id = ?", (owner, key))

    def add_blind_names(self, names: Mapping[str, str], keep: int) -> None:
        """Store blind names, so that a vote is possible after a restart; the last `keep` remain."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO blind_names (blind, name) VALUES (?, ?)", list(names.items())
            )
            connection.execute(
                "DELETE FROM blind_names WHERE number <= (SELECT MAX(number) FROM blind_names) - ?",
                (keep,),
            )

    def blind_names(self) -> dict[str, str]:
        """The stored blind names and the models behind them, the oldest first."""
        with self._reading() as connection:
            if connection is None:
                return {}
            sql = "SELECT blind, name FROM blind_names ORDER BY number"
            return dict(connection.execute(sql).fetchall())

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The open file; None if there is none yet."""
        with self._lock:
            yield self._connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The file within a transaction."""
        with self._lock:
            connection = self._open()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise DataError(
                    f"the conversation is not saved in {self.path}: {error}.", code="bad-store"
                ) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        """The file, which is created if there is none.

        Raises:
            DataError: it cannot be created, or is not a history of this version.
        """
        if self._connection is None:
            _create(self.path)
            connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(connection, self.path)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _create(path: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise DataError(
            f"the history {path} cannot be created: {error.strerror}; name another file with "
            "--history, or use --history off.",
            code="bad-store",
        ) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    try:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if not version and not tables:
            for statement in _TABLES.strip().split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            version = VERSION
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        raise DataError(
            f"{path} cannot be used as a history: {error}; name another file with --history.",
            code="bad-store",
        ) from error
    if version != VERSION:
        raise DataError(
            f"{path} is not a chat history of this version; name another file with --history.",
            code="bad-store",
        )


def _searched(turn: Turn) -> str:
    """The texts of a turn in the form that searches compare."""
    texts = [turn.content, *(one.text for one in turn.responses)]
    return "\n".join(texts).casefold()


def _unknown(key: str) -> DataError:
    return DataError(f"there is no conversation {key!r} in this history.", code="unknown-name")
