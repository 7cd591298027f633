"""Participants of a crowd platform. Their ids are in a file of their own, which no export reads.

The label store knows a participant by a random name. Whoever has the store, an export of it or its
log alone cannot tell who they are on the platform.
"""

import contextlib
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf.errors import ConfigError, DataError

BUSY_SECONDS = 30.0  # `rlhf label participants` may read while a server writes
CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
PLATFORM_ID = re.compile(r"[A-Za-z0-9]{3,64}")
PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"  # what MTurk sends before a worker has accepted a HIT
_TABLE = """CREATE TABLE IF NOT EXISTS participants (
    annotator TEXT PRIMARY KEY, platform TEXT NOT NULL, person TEXT NOT NULL, study TEXT NOT NULL,
    session TEXT NOT NULL, entered REAL NOT NULL, UNIQUE (platform, person))"""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Names of the ids in the query of a platform's link."""

    name: str
    person: str
    study: str
    session: str
    placeholder: str  # what an id replaces in the link, with {name}
    completed_at: str  # address of the completion link, with {code}; "": the code is pasted


PLATFORMS = {
    "prolific": Platform(
        name="Prolific",
        person="PROLIFIC_PID",
        study="STUDY_ID",
        session="SESSION_ID",
        placeholder="{{%{name}%}}",
        completed_at="https://app.prolific.com/submissions/complete?cc={code}",
    ),
    "mturk": Platform(
        name="Mechanical Turk",
        person="workerId",
        study="hitId",
        session="assignmentId",
        placeholder="{{name}}",  # a script of the HIT puts them in
        completed_at="",
    ),
}


@dataclass(frozen=True, kw_only=True)
class CrowdConfig:
    """A study on a crowd platform."""

    platform: str  # a key of PLATFORMS
    completion_code: str
    labels_per_person: int | None = None  # None: as long as there are items

    def __post_init__(self) -> None:
        if self.platform not in PLATFORMS:
            raise ConfigError(
                f"crowd={self.platform} is not one of {', '.join(PLATFORMS)}.", code="bad-value"
            )
        if not CODE.fullmatch(self.completion_code):
            raise ConfigError(
                f"completion_code={self.completion_code} is no code: copy the letters and digits "
                "that the platform gave you.",
                code="bad-value",
            )
        if self.labels_per_person is not None and self.labels_per_person < 1:
            raise ConfigError(
                f"labels_per_person={self.labels_per_person} must be 1 or more.", code="bad-value"
            )

    @property
    def completion_link(self) -> str:
        """The address that tells the platform that a participant has finished; "" if none does."""
        return PLATFORMS[self.platform].completed_at.format(code=self.completion_code)


@dataclass(frozen=True, kw_only=True)
class PlatformIds:
    """Who comes from a platform, from which study, and in which of its sessions."""

    person: str
    study: str
    session: str


@dataclass(frozen=True, kw_only=True)
class Participant(PlatformIds):
    """A person of a platform and their name in the label store."""

    platform: str
    annotator: str
    entered: float  # when they last opened the link, in seconds since 1970


def platform_ids(platform: str, query: Mapping[str, str]) -> PlatformIds:
    """The ids in the query of the platform's link.

    Raises:
        DataError: an id is missing or has other characters, or the person has not accepted yet.
    """
    names = PLATFORMS[platform]
    values = {name: query.get(name, "") for name in (names.person, names.study, names.session)}
    if PREVIEW in values.values():
        raise DataError("accept the HIT first, then open its link again.", code="bad-value")
    for name, value in values.items():
        if not PLATFORM_ID.fullmatch(value):
            raise DataError(
                f"the link has no valid {name}; open it from {names.name}.", code="bad-value"
            )
    person, study, session = values.values()
    return PlatformIds(person=person, study=study, session=session)


def study_link(crowd: CrowdConfig, address: str) -> str:
    """The link for the platform, with placeholders of the ids."""
    platform = PLATFORMS[crowd.platform]
    names = (platform.person, platform.study, platform.session)
    query = "&".join(f"{name}={platform.placeholder.replace('{name}', name)}" for name in names)
    return f"{address}/crowd?{query}"


def participants_file(store: str) -> Path:
    """The file next to a label store; in the current folder for a database URL."""
    if "://" in store:
        return Path("labels.participants.sqlite")
    return Path(store).with_suffix(".participants.sqlite")


class Participants:
    """The file of participants, mode 0600.

    Raises:
        DataError: it cannot be created or read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()  # requests come on several threads
        try:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA secure_delete = ON")  # erased ids leave the file too
            self._connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise DataError(
                f"the participants' file {self.path} cannot be used: {error}.", code="bad-store"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def knows(self, platform: str, ids: PlatformIds) -> bool:
        """Whether the person has come before."""
        with self._lock:
            query = "SELECT 1 FROM participants WHERE platform = ? AND person = ?"
            found = self._connection.execute(query, (platform, ids.person)).fetchone()
        return found is not None

    def enter(self, platform: str, ids: PlatformIds) -> str:
        """The person's name in the label store, a new one when they come for the first time."""
        with self._transaction() as connection:
            known = connection.execute(
                "SELECT annotator FROM participants WHERE platform = ? AND person = ?",
                (platform, ids.person),
            ).fetchone()
            if known:
                connection.execute(
                    "UPDATE participants SET study = ?, session = ?, entered = ? "
                    "WHERE annotator = ?",
                    (ids.study, ids.session, time.time(), known[0]),
                )
                return str(known[0])
            # Random, not a hash of the id: a platform's ids can be listed and hashed.
            name = f"{platform}-{secrets.token_hex(5)}"
            connection.execute(
                "INSERT INTO participants VALUES (?, ?, ?, ?, ?, ?)",
                (name, platform, ids.person, ids.study, ids.session, time.time()),
            )
            return name

    def is_participant(self, annotator: str) -> bool:
        """Whether a name in the label store is that of a participant."""
        with self._lock:
            query = "SELECT 1 FROM participants WHERE annotator = ?"
            return self._connection.execute(query, (annotator,)).fetchone() is not None

    def forget(self, annotator: str) -> bool:
        """Delete a participant; whether there was one."""
        with self._transaction() as connection:
            deletion = "DELETE FROM participants WHERE annotator = ?"
            return connection.execute(deletion, (annotator,)).rowcount > 0

    def everyone(self) -> list[Participant]:
        """All participants, in the order in which they last came."""
        query = """SELECT annotator, platform, person, study, session, entered FROM participants
            ORDER BY entered, annotator"""
        with self._lock:
            rows = self._connection.execute(query).fetchall()
        return [
            Participant(
                annotator=annotator,
                platform=platform,
                person=person,
                study=study,
                session=session,
                entered=entered,
            )
            for annotator, platform, person, study, session, entered in rows
        ]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
