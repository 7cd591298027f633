"""Items with known ranks, which measure annotators."""

from collections.abc import Sequence

import sqlalchemy as sa

from rlhf.errors import DataError
from rlhf.labels.records import Candidate
from rlhf.labels.schema import GOLD, gold, items


def set_gold(
    connection: sa.Connection, item_id: int, candidate: Candidate, ranks: Sequence[int]
) -> None:
    """Make an item a gold item with these ranks; raises `DataError` if they do not fit."""
    if len(ranks) != len(candidate.responses):
        raise DataError(
            f"gold ranks {list(ranks)} do not fit the {len(candidate.responses)} responses of "
            f"item {item_id}; give one rank per response.",
            code="bad-label",
        )
    connection.execute(sa.update(items).where(items.c.id == item_id).values(queue=GOLD))
    connection.execute(sa.delete(gold).where(gold.c.item_id == item_id))
    connection.execute(sa.insert(gold).values(item_id=item_id, ranks=list(ranks)))


def gold_ranks(connection: sa.Connection) -> dict[int, list[int]]:
    """Item id -> known ranks."""
    return {row.item_id: row.ranks for row in connection.execute(sa.select(gold))}
