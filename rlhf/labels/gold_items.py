"""Items with known ranks, which measure annotators."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from rlhf.labels.schema import GOLD, gold, items


def set_gold(connection: sa.Connection, ranks: Mapping[int, Sequence[int]]) -> None:
    """Make items gold items with these ranks by item id, which `check_gold` checked."""
    for item_id, known in ranks.items():
        connection.execute(sa.update(items).where(items.c.id == item_id).values(queue=GOLD))
        connection.execute(sa.delete(gold).where(gold.c.item_id == item_id))
        connection.execute(sa.insert(gold).values(item_id=item_id, ranks=list(known)))


def gold_ranks(connection: sa.Connection) -> dict[int, list[int]]:
    """Item id -> known ranks, of the gold items that were not excluded."""
    query = sa.select(gold).join(items, items.c.id == gold.c.item_id).where(items.c.queue == GOLD)
    return {row.item_id: row.ranks for row in connection.execute(query)}
