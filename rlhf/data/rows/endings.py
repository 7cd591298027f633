"""How responses of a chat ended, by the column `endings` of its exports."""

from collections.abc import Sequence

from rlhf.data.files.raw import Row
from rlhf.errors import reject_row
from rlhf.types import Message

WHOLE = "stop"  # the model ended the response
CUT = ("length", "stopped")  # its maximum length, or a person, did


def cut_responses(row: Row, count: int) -> tuple[bool, ...]:
    """Whether each of the row's responses was cut off, so that its text is no whole answer; or ().

    The column is the row's, or in the `extra` of a ranking. One with other values has another
    meaning, and says nothing.

    Args:
        row: as it was read.
        count: of its responses.

    Raises:
        DataError: endings of another number of responses.
    """
    extra = row.get("extra")
    endings = row.get("endings") or (extra.get("endings") if isinstance(extra, dict) else None)
    if not isinstance(endings, list) or not all(ending in (WHOLE, *CUT) for ending in endings):
        return ()
    if len(endings) != count:
        reject_row(
            f"endings has {len(endings)} values for the row's {count} trained responses; give one "
            "for each, or remove the column"
        )
    return tuple(ending in CUT for ending in endings)


def with_endings(row: Row, turns: Sequence[Message]) -> list[Message]:
    """The turns, with `cut` on those of the assistant that were cut off; weight 0 has no ending.

    Raises:
        DataError: see `cut_responses`.
    """
    trained = [t["role"] == "assistant" and t.get("weight", 1) != 0 for t in turns]
    cut = iter(cut_responses(row, sum(trained)))
    return [
        {**turn, "cut": True} if is_trained and next(cut, False) else turn
        for turn, is_trained in zip(turns, trained, strict=True)
    ]
