"""Versions of guideline and form in rows of a file, recognized by the hash of their content.

A version is a number of one store: version 2 of another store is another text. Exported rows
therefore have the hashes too, and an import takes the number that the content has in its store.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from rlhf.labels.schema import forms, guidelines

ELSEWHERE = "versions_elsewhere"  # in `extra`: versions of which this store has no content
VERSION_COLUMNS = ("guideline_version", "form_version")
DIGEST_COLUMNS = ("guideline_sha256", "form_sha256")

Digests = Mapping[str, Mapping[int, str]]
"""Column of a version -> version -> SHA-256 of its content."""


def digests_of(connection: sa.Connection) -> Digests:
    """The hashes of a store's guidelines and forms."""
    return {
        column: {
            row.version: row.sha256
            for row in connection.execute(sa.select(table.c.version, table.c.sha256))
        }
        for column, table in zip(VERSION_COLUMNS, (guidelines, forms), strict=True)
    }


def with_digests(row: Mapping[str, object], digests: Digests) -> dict[str, object]:
    """The row, and its repeats, with the hash of each version; None for an unknown version."""
    found: dict[str, object] = {
        name: digests[version].get(number) if isinstance(number := row.get(version), int) else None
        for version, name in zip(VERSION_COLUMNS, DIGEST_COLUMNS, strict=True)
    }
    repeats = row.get("repeats")
    if isinstance(repeats, list):
        found["repeats"] = [with_digests(one, digests) for one in repeats]
    return {**row, **found}


def versions_here(
    row: Mapping[str, object], digests: Digests
) -> tuple[dict[str, int], dict[str, object]]:
    """The versions that this store has for a row's label, 0 for content that it does not have.

    The second value has the row's own numbers and hashes of that content: they belong to the
    store that exported the row.
    """
    here: dict[str, int] = {}
    elsewhere: dict[str, object] = {}
    for version, name in zip(VERSION_COLUMNS, DIGEST_COLUMNS, strict=True):
        own = [number for number, digest in digests[version].items() if digest == row.get(name)]
        here[version] = own[0] if own else 0
        if row.get(version) and not own:
            elsewhere |= {version: row[version], name: row.get(name)}
    return here, elsewhere
