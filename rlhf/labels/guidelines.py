"""Versions of the guideline that annotators follow."""

import hashlib

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.database import new_id
from rlhf.labels.schema import guidelines


def add_guideline(connection: sa.Connection, text: str) -> int:
    """The version of this text, 1 for the first; a known text keeps its version."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    known = sa.select(guidelines.c.version).where(guidelines.c.sha256 == digest)
    version = connection.scalar(known)
    if version is None:
        version = new_id(connection, sa.insert(guidelines).values(sha256=digest, text=text))
    return int(version)


def guideline_text(connection: sa.Connection, version: int) -> str:
    """The text of a version; raises `DataError` for an unknown version."""
    text = connection.scalar(sa.select(guidelines.c.text).where(guidelines.c.version == version))
    if text is None:
        raise DataError(f"the store has no guideline version {version}.", code="unknown-name")
    return str(text)


def newest_guideline(connection: sa.Connection) -> tuple[int, str]:
    """(version, text) of the guideline that was added last; (0, "") if there is none."""
    query = sa.select(guidelines).order_by(guidelines.c.version.desc())
    row = connection.execute(query).first()
    return (row.version, row.text) if row is not None else (0, "")
