"""Tables of the label store. What people say is an append-only log of events.

A label is a `submit` event that no `undo` event takes back. Nothing is updated in place, so what
an annotator saw and said stays on record, and a crash between two clicks cannot tear a label.
"""

import sqlalchemy as sa

SCHEMA_VERSION = 1
SUBMIT, UNDO = "submit", "undo"

metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

guidelines = sa.Table(
    "guidelines",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.String, nullable=False, unique=True),
    sa.Column("text", sa.Text, nullable=False),
)

items = sa.Table(
    "items",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    # Hash of what is judged: importing a file twice adds nothing.
    sa.Column("content_sha256", sa.String, nullable=False, unique=True),
    sa.Column("prompt", sa.JSON, nullable=False),  # a string or a list of messages
    sa.Column("responses", sa.JSON, nullable=False),  # list of K strings
    sa.Column("models", sa.JSON, nullable=False),  # list of K strings, or empty: who wrote them
    sa.Column("columns", sa.JSON, nullable=False),  # the row's other columns, as they came
)

events = sa.Table(
    "events",
    metadata,
    # The order of events is that of their ids: a clock can jump, a counter cannot.
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("item_id", sa.ForeignKey("items.id"), nullable=False, index=True),
    sa.Column("annotator", sa.String, nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),  # seconds since 1970, by this machine's clock
    # The client's own name for the event: sending it again after a lost reply adds nothing.
    sa.Column("request_key", sa.String, unique=True),
    sa.Column("undoes", sa.ForeignKey("events.id"), unique=True),
    sa.Column("payload", sa.JSON, nullable=False),
    sqlite_autoincrement=True,  # an id is never used twice
)
