"""Items with known ranks, which measure annotators.

A gold item takes no ordinary label. One that it got before it became a gold item does not count.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from rlhf.errors import DataError
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


def gold_contents(connection: sa.Connection) -> set[str]:
    """The content hashes of all gold items, excluded ones too."""
    query = sa.select(items.c.content_sha256).join(gold, gold.c.item_id == items.c.id)
    return set(connection.scalars(query))


def check_not_gold(connection: sa.Connection, item_id: int) -> None:
    """Raise DataError for a gold item: training would learn from its label."""
    if connection.scalar(sa.select(gold.c.item_id).where(gold.c.item_id == item_id)) is not None:
        raise DataError(
            f"item {item_id} is a gold item, which measures annotators on the page and takes no "
            "ordinary label; leave the label out.",
            code="not-allowed",
        )
