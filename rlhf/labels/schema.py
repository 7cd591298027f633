"""Tables of the label store. Labels are an append-only log of events.

A label is a `submit` event without an `undo` event. Events are never updated in place, so the
history stays complete and a crash between two clicks cannot tear a label. The one exception is
the right to be forgotten: `erase` deletes an annotator's rows and leaves a tombstone.
"""

import sqlalchemy as sa

from rlhf.labels.roles import ANNOTATOR

SCHEMA_VERSION = 7
# Kinds of events. A LATE label came after its place was given to another annotator, or after its
# annotator's label by REST; it is stored and does not count.
SUBMIT, UNDO, SKIP, LATE = "submit", "undo", "skip", "late"
# Decisions of a researcher about an item; their payload has `by` and `reason`. If a researcher
# takes a label back or corrects it, its `undo` event has these two fields.
EXCLUDE, REOPEN, CONTEST = "exclude", "reopen", "contest"
# Annotator of these events, and name of whoever has the admin link. Names in parentheses like these
# belong to no person.
ADMINISTRATOR = "(administrator)"
COMMAND_LINE = "(command line)"
ERASED = "(erased)"  # in place of an erased person's name
RESERVED = (ADMINISTRATOR, COMMAND_LINE, ERASED)
# Role of an item in the queue: OPEN items are labelled, GOLD items measure the annotators, and a
# MARKED item is a single response of a chat, which cannot be ranked.
OPEN, GOLD, MARKED = "open", "gold", "marked"
EXCLUDED = "excluded"  # an item whose labels do not count
RETIRED = "retired"  # an item whose labels were deleted because they were old
# States of a claim; LIVE and DONE claims take a place of their item.
LIVE, DONE, SKIPPED, EXPIRED, UNDONE = "live", "done", "skipped", "expired", "undone"
# Claims in these states keep an item from being shown to the same annotator again. An expired claim
# does not: its annotator may be the only one left who can label the item.
SEEN = (LIVE, DONE, SKIPPED)

HAS_TAGS = sa.text("requires != ''")
WITHOUT_CLAIM = sa.text("claim_id IS NULL")

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

forms = sa.Table(
    "forms",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.String, nullable=False, unique=True),
    sa.Column("content", sa.JSON, nullable=False),  # `form_config.as_json`
)

items = sa.Table(
    "items",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    # Hash of prompt and responses: importing a file twice adds nothing.
    sa.Column("content_sha256", sa.String, nullable=False, unique=True),
    sa.Column("prompt", sa.JSON, nullable=False),  # a string or a list of messages
    sa.Column("responses", sa.JSON, nullable=False),  # list of K strings
    sa.Column("models", sa.JSON, nullable=False),  # list of K strings, or empty
    sa.Column("columns", sa.JSON, nullable=False),  # the row's other columns
    sa.Column("queue", sa.String, nullable=False, server_default=OPEN),
    # Places taken: ordinary labels that were not undone, and live claims.
    sa.Column("taken", sa.Integer, nullable=False, server_default="0"),
    sa.Column("priority", sa.Float, nullable=False, server_default="0"),  # higher comes first
    # Places above the number of annotators per item: the item was reopened, or its labels disagree.
    sa.Column("extra", sa.Integer, nullable=False, server_default="0"),
    # Tags that an annotator needs, sorted, each followed by a line feed; "" for none.
    sa.Column("requires", sa.String, nullable=False, server_default=""),
    # Covers the choice of the next item, in its order: reading 10,000 long responses is slow.
    sa.Index(
        "ix_items_next", "queue", sa.text("priority DESC"), "id", "taken", "extra", "requires"
    ),
    sa.Index("ix_items_requires", "requires", sqlite_where=HAS_TAGS, postgresql_where=HAS_TAGS),
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
    # Ids order the events: a clock can jump, a counter cannot.
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("item_id", sa.ForeignKey("items.id"), nullable=False, index=True),
    sa.Column("annotator", sa.String, nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),  # seconds since 1970, by this machine's clock
    # The client's own name of the event: a retry after a lost reply adds nothing.
    sa.Column("request_key", sa.String, unique=True),
    sa.Column("undoes", sa.ForeignKey("events.id"), unique=True),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("claim_id", sa.Integer),  # null for labels by REST or from a file
    # Those of one annotator are looked up for each next item; the labels of the page are many.
    sa.Index(
        "ix_events_without_claim",
        "annotator",
        "item_id",
        sqlite_where=WITHOUT_CLAIM,
        postgresql_where=WITHOUT_CLAIM,
    ),
    sqlite_autoincrement=True,  # an id is never reused
)

claims = sa.Table(
    "claims",
    metadata,
    # The id is the fencing token: it tells a submission under an older claim from a newer one.
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("item_id", sa.ForeignKey("items.id"), nullable=False, index=True),
    sa.Column("annotator", sa.String, nullable=False),
    sa.Column("purpose", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("order_shown", sa.JSON, nullable=False),
    sa.Column("probability", sa.Float),  # of this item being drawn; null if the order decided
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
    sa.Column("invite_sha256", sa.String, unique=True),  # null: the link was revoked
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("role", sa.String, nullable=False, server_default=ANNOTATOR),
    sa.Column("paused", sa.Integer, nullable=False, server_default="0"),  # 1: gets no items
    sa.Column("cap", sa.Integer),  # labels after which the person gets no more items; null: none
    sa.Column("tags", sa.JSON, nullable=False, server_default="[]"),  # languages, skills
)

pre_labels = sa.Table(
    "pre_labels",
    metadata,
    sa.Column("item_id", sa.ForeignKey("items.id"), primary_key=True),
    sa.Column("source", sa.String, nullable=False),  # name of the reward model
    sa.Column("scores", sa.JSON, nullable=False),  # K, in the order of items.responses
)

questions = sa.Table(
    "questions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("item_id", sa.ForeignKey("items.id")),  # the item on the screen, if there was one
    sa.Column("annotator", sa.String, nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("answer", sa.Text),  # null: not answered yet
    sa.Column("answered_at", sa.Float),
)

# Who saw and who changed what, apart from what claims (items shown to annotators) and events tell.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("who", sa.String, nullable=False, index=True),  # a person, or a program with a token
    sa.Column("role", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),  # method and path, or a command
    sa.Column("item_id", sa.Integer),
    sa.Column("details", sa.JSON, nullable=False),  # the query or the body of the request
    sqlite_autoincrement=True,
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_sha256", sa.String, primary_key=True),
    sa.Column("annotator", sa.String, index=True),  # null: the administrator
    sa.Column("csrf", sa.String, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)

tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),  # number of deleted events
    sa.Column("labels", sa.Integer, nullable=False),  # of these, labels that were not undone
)
