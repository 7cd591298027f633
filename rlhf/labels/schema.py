"""Tables of the label store. What people say is an append-only log of events.

A label is a `submit` event that no `undo` event takes back. Nothing is updated in place, so what
an annotator saw and said stays on record, and a crash between two clicks cannot tear a label.
The one exception is a person's right to be forgotten: `erase` deletes and leaves a tombstone.
"""

import sqlalchemy as sa

SCHEMA_VERSION = 3
# Kinds of events. LATE is a label that came after its place was given to somebody else: it is
# kept, and counts for nothing.
SUBMIT, UNDO, SKIP, LATE = "submit", "undo", "skip", "late"
# What an item is to the queue: people label OPEN ones, GOLD ones measure the people, a MARKED one
# is a single answer of a chat, which nobody can rank.
OPEN, GOLD, MARKED = "open", "gold", "marked"
# States of a claim; a place of an item is taken by LIVE and DONE ones.
LIVE, DONE, SKIPPED, EXPIRED, UNDONE = "live", "done", "skipped", "expired", "undone"
# Those that keep an item from being shown to the same person again. One that expired does not:
# who left it untouched may be the only one who can label it yet.
SEEN = (LIVE, DONE, SKIPPED)

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
    sa.Column("queue", sa.String, nullable=False, server_default=OPEN),
    # Places taken: ordinary labels that stand, and claims that live.
    sa.Column("taken", sa.Integer, nullable=False, server_default="0"),
    sa.Column("priority", sa.Float, nullable=False, server_default="0"),  # higher comes first
    # All that the choice of the next item reads, in its order: answers are long, and reading
    # 10,000 of them is slow.
    sa.Index("ix_items_next", "queue", sa.text("priority DESC"), "id", "taken"),
)

gold = sa.Table(
    "gold",
    metadata,
    sa.Column("item_id", sa.ForeignKey("items.id"), primary_key=True),
    sa.Column("ranks", sa.JSON, nullable=False),  # K, in the order of items.responses
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
    sa.Column("claim_id", sa.Integer),  # the claim that it answers; null for imported labels
    sqlite_autoincrement=True,  # an id is never used twice
)

claims = sa.Table(
    "claims",
    metadata,
    # The id is the fencing token: what comes in under an older claim can be told from the newer.
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("item_id", sa.ForeignKey("items.id"), nullable=False, index=True),
    sa.Column("annotator", sa.String, nullable=False),
    sa.Column("purpose", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("order_shown", sa.JSON, nullable=False),
    sa.Column("probability", sa.Float),  # of this item being drawn; null where order decided
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("ix_claims_annotator", "annotator", "item_id"),
    sa.Index("ix_claims_annotator_state", "annotator", "state"),
    sqlite_autoincrement=True,
)

drafts = sa.Table(
    "drafts",
    metadata,
    sa.Column("claim_id", sa.ForeignKey("claims.id"), primary_key=True),
    sa.Column("payload", sa.JSON, nullable=False),
)

people = sa.Table(
    "people",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("invite_sha256", sa.String, unique=True),  # null: the link was taken back
    sa.Column("at", sa.Float, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_sha256", sa.String, primary_key=True),
    sa.Column("annotator", sa.String, index=True),  # null: the researcher
    sa.Column("csrf", sa.String, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)

tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),  # how many were deleted
    sa.Column("labels", sa.Integer, nullable=False),  # how many of these were labels that stood
)
