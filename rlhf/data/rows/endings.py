"""How responses of a chat ended, by the column `endings` of its exports."""

from collections.abc import Sequence
from typing import get_args

from rlhf.data.files.raw import Row
from rlhf.errors import reject_row
from rlhf.types import Ending, Message


def endings_of(row: Row, count: int) -> tuple[Ending, ...]:
    """How each of the row's responses ended; () if the row does not have `endings`.

    They are a column of the row, or in the `extra` of a ranking. A column of this name with other
    values has another meaning and is not read.

    Args:
        row: as it was read.
        count: number of its responses.

    Raises:
        DataError: endings of another number of responses.
    """
    extra = row.get("extra")
    endings = row.get("endings") or (extra.get("endings") if isinstance(extra, dict) else None)
    if not isinstance(endings, list) or not all(each in get_args(Ending) for each in endings):
        return ()
    if len(endings) != count:
        reject_row(
            f"endings has {len(endings)} values for the row's {count} trained responses; give one "
            "for each, or remove the column"
        )
    return tuple(endings)


def with_endings(row: Row, turns: Sequence[Message]) -> list[Message]:
    """The turns, with `cut` on those of the assistant that were cut off.

    `endings` has no value for a turn with weight 0.

    Raises:
        DataError: see `endings_of`.
    """
    trained = [t["role"] == "assistant" and t.get("weight", 1) != 0 for t in turns]
    endings = iter(endings_of(row, sum(trained)))
    return [
        {**turn, "cut": True} if is_trained and next(endings, "stop") != "stop" else turn
        for turn, is_trained in zip(turns, trained, strict=True)
    ]
