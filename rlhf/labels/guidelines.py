"""Versions of the guideline that annotators follow."""

import difflib
import hashlib
from collections.abc import Sequence

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.database import new_id
from rlhf.labels.schema import guidelines, meta

CURRENT = "guideline_version"  # setting: an earlier version that was published again


def add_guideline(connection: sa.Connection, text: str) -> int:
    """The version of this text, 1 for the first; a known text keeps its version."""
    version = _version_of(connection, text)
    if version is None:
        insert = sa.insert(guidelines).values(sha256=_digest(text), text=text)
        version = new_id(connection, insert)
        connection.execute(sa.delete(meta).where(meta.c.name == CURRENT))
    return version


def publish_guideline(connection: sa.Connection, text: str, base: int) -> int:
    """Make this text the current guideline; returns its version.

    The text of an earlier version gets that version again.

    Args:
        connection: in a transaction.
        text: the guideline.
        base: the version that was edited; 0 for none.

    Raises:
        DataError: another version was published meanwhile.
    """
    current = newest_version(connection)
    if current != base:
        raise DataError(
            f"version {current} of the guideline was published meanwhile, and you edited version "
            f"{base}; copy your text, reload the page and apply your changes again.",
            code="busy",
        )
    version = _version_of(connection, text)
    if version is None:
        return add_guideline(connection, text)
    queries.set_setting(connection, CURRENT, str(version))
    return version


def guideline_text(connection: sa.Connection, version: int) -> str:
    """The text of a version; raises `DataError` for an unknown version."""
    text = connection.scalar(sa.select(guidelines.c.text).where(guidelines.c.version == version))
    if text is None:
        raise DataError(f"the store has no guideline version {version}.", code="unknown-name")
    return str(text)


def newest_guideline(connection: sa.Connection) -> tuple[int, str]:
    """(version, text) of the guideline that was published last; (0, "") if there is none."""
    version = newest_version(connection)
    return version, guideline_text(connection, version) if version else ""


def newest_version(connection: sa.Connection) -> int:
    """The version of `newest_guideline`, without its text."""
    again = sa.select(meta.c.value).where(meta.c.name == CURRENT)
    newest = sa.select(sa.func.max(guidelines.c.version))
    query = sa.select(again.scalar_subquery(), newest.scalar_subquery())
    version, last = connection.execute(query).one()
    return int(version or last or 0)


def guideline_versions(connection: sa.Connection) -> list[int]:
    """Every version, newest first."""
    query = sa.select(guidelines.c.version).order_by(guidelines.c.version.desc())
    return list(connection.scalars(query))


def guideline_diff(old: str, new: str) -> Sequence[tuple[str, str]]:
    """Lines of both texts as (mark, line): " " in both, "-" only in the old, "+" in the new."""
    lines = difflib.ndiff(old.splitlines(), new.splitlines())
    return [(line[0], line[2:]) for line in lines if line[0] != "?"]


def _version_of(connection: sa.Connection, text: str) -> int | None:
    known = sa.select(guidelines.c.version).where(guidelines.c.sha256 == _digest(text))
    version = connection.scalar(known)
    return None if version is None else int(version)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
