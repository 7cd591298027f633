"""Scores on disk, keyed by prompt, response, columns and source: a SQLite file."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.manifest import hash_text
from rlhf.rewards.case import Case

BUSY_SECONDS = 60.0  # that a process waits for another one's write
AT_ONCE = 500  # keys of one query


class ScoreCache:
    """Scores of earlier calls. Several processes can share the file; each opens its own.

    Use it on one thread, which has to be the one that creates it.

    Raises:
        ConfigError: the file cannot be opened, or is another file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, score REAL NOT NULL)"
            )
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"reward_cache={path} cannot be used: {error}; name another file.",
                code="unreadable-file",
            ) from error

    def get(self, keys: Sequence[str]) -> Mapping[str, float]:
        """The scores of those keys that have one."""
        scores: dict[str, float] = {}
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, score FROM scores WHERE key IN ({marks})"
            scores |= dict(self._database.execute(query, part).fetchall())
        return scores

    def put(self, scores: Mapping[str, float]) -> None:
        """Store scores, which have to be finite."""
        if scores:
            self._database.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?)", list(scores.items())
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def cache_key(identity: str, case: Case) -> str:
    """The hash that a score is stored under; values that are not JSON count by their text."""
    parts = [identity, case.prompt, case.response, dict(case.columns)]
    return hash_text(json.dumps(parts, sort_keys=True, default=str))
