"""Adaptive overlap: a further annotator only for items whose annotators disagree."""

import sqlalchemy as sa

from rlhf.labels import queries
from rlhf.labels.disagreement import disagreement, rankings_of
from rlhf.labels.schema import items
from rlhf.labels.selection import QueueConfig


def widen(connection: sa.Connection, item_id: int, config: QueueConfig) -> None:
    """Add a place to an item with all its labels, if they disagree and `max_overlap` allows it.

    An annotator who changes a label later does not take the place away again.
    """
    if config.max_overlap is None:
        return
    extra = connection.scalar(sa.select(items.c.extra).where(items.c.id == item_id)) or 0
    places = config.overlap + extra
    rankings = rankings_of(queries.standing_labels(connection, item_id=item_id))
    if places >= config.max_overlap or len(rankings) < places:
        return
    if (disagreement(rankings) or 0.0) > config.disagreement:
        queries.add_places(connection, item_id, 1)
