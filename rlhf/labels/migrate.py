"""Migration of older label stores to this version, in one transaction each."""

from pathlib import Path

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.database import display_location
from rlhf.labels.schema import SCHEMA_VERSION, events, items, meta, metadata

# Columns that version 2 added to tables of version 1; `create_all` makes its new tables.
ADDED_IN_2 = (
    "ALTER TABLE items ADD COLUMN queue VARCHAR DEFAULT 'open' NOT NULL",
    "ALTER TABLE items ADD COLUMN taken INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE items ADD COLUMN priority FLOAT DEFAULT 0 NOT NULL",
    "ALTER TABLE events ADD COLUMN claim_id INTEGER",
)
# Columns that later versions added, by table; a table that this migration makes has them already.
# New tables, `audit` of version 5 and `forms` of version 6, and the index of version 7 need no
# entry: `create_all` makes the tables, and `_to_newest` the indexes.
ADDED_LATER = {
    "items": {
        "extra": "INTEGER DEFAULT 0 NOT NULL",
        "requires": "VARCHAR DEFAULT '' NOT NULL",
    },
    "people": {
        "role": "VARCHAR DEFAULT 'annotator' NOT NULL",
        "paused": "INTEGER DEFAULT 0 NOT NULL",
        "cap": "INTEGER",
        "tags": "JSON DEFAULT '[]' NOT NULL",
    },
}
OLD_INDEXES = ("ix_items_queue_priority", "ix_items_queue_taken", "ix_items_next")


def migrate(connection: sa.Connection, location: str | Path, *, create: bool) -> None:
    """Make the tables of an empty store, or upgrade an older one.

    Raises:
        DataError: not a store, or one that a newer version wrote.
    """
    version = version_of(connection)
    if version is None and not create:
        raise DataError(
            f"{display_location(location)} is not a label store; make one with "
            "`rlhf label import`.",
            code="bad-store",
        )
    if version is None:
        metadata.create_all(connection)
        row = {"name": "schema_version", "value": str(SCHEMA_VERSION)}
        connection.execute(sa.insert(meta), row)
    elif version in range(1, SCHEMA_VERSION):
        if version == 1:
            _from_1_to_2(connection)
        _to_newest(connection)
    elif version != SCHEMA_VERSION:
        raise DataError(
            f"{display_location(location)} is a label store of version {version}; this rlhf reads "
            f"versions 1 to {SCHEMA_VERSION}; open it with the rlhf that wrote it.",
            code="bad-store",
        )


def version_of(connection: sa.Connection) -> int | None:
    """The store's schema version; None if there is no store."""
    if not sa.inspect(connection).has_table("meta"):
        return None
    value = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "schema_version"))
    return None if value is None else int(value)


def _from_1_to_2(connection: sa.Connection) -> None:
    for statement in ADDED_IN_2:
        connection.exec_driver_sql(statement)
    metadata.create_all(connection)
    for label in queries.standing_labels(connection):
        queries.add_taken(connection, label.item_id, 1)


def _to_newest(connection: sa.Connection) -> None:
    inspector = sa.inspect(connection)
    for table, columns in ADDED_LATER.items():
        present = {column["name"] for column in inspector.get_columns(table)}
        for name, definition in columns.items():
            if name not in present:
                connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")
    metadata.create_all(connection)
    for old in OLD_INDEXES:  # version 3 had an index of the same name with fewer columns
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {old}")
    for index in items.indexes | events.indexes:
        index.create(connection, checkfirst=True)
    update = sa.update(meta).where(meta.c.name == "schema_version")
    connection.execute(update.values(value=str(SCHEMA_VERSION)))
