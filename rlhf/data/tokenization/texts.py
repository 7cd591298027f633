"""Token ids of plain texts in SFT: no chat template, and EOS at the end."""

from collections.abc import Iterator

from rlhf.data.tokenization.chat import Encoded, training_examples
from rlhf.data.tokenization.rendering import raw_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import reject_row
from rlhf.types import SFTRow

OPENING_LENGTH = 100  # characters


def sft_examples(chat: ChatTokenizer, row: SFTRow, max_length: int | None = None) -> list[Encoded]:
    """The examples of SFT on a demonstration or a plain text.

    max_length: the most tokens of a part of a text; demonstrations are never split.

    Raises:
        DataError: see `training_examples` and `text_examples`.
    """
    if isinstance(row, str):
        return text_examples(chat, row, max_length)
    return training_examples(chat, row)


def text_examples(chat: ChatTokenizer, text: str, max_length: int | None = None) -> list[Encoded]:
    """A text with its EOS, in one example or in several of at most `max_length` tokens.

    A later example begins with the last token of the one before it, as context: with 10 ids and
    max_length 4 they are ids 0-3, 3-6 and 6-9. So each id but the first is trained exactly once;
    the first has nothing before it to be predicted from. Control tokens in the text are letters.

    Raises:
        DataError: the text has no tokens.
    """
    ids = [*raw_ids(chat, text), chat.end_token_id]
    if len(ids) < 2:
        reject_row("the text has no tokens")
    return [
        Encoded(ids=part, trained=[at > 0 for at in range(len(part))], prompt_length=1)
        for part in _parts(ids, _longest(chat, max_length, len(ids)))
    ]


def opening(text: str) -> str:
    """The beginning of a text, for a sample that continues it.

    Up to OPENING_LENGTH characters and at most half of the text, cut at a space where it has one.
    """
    text = text.strip()
    most = min(OPENING_LENGTH, (len(text) + 1) // 2)
    space = text.rfind(" ", 1, most + 1)
    return text[: space if space > 0 else most]


def _parts(ids: list[int], length: int) -> Iterator[list[int]]:
    for start in range(0, len(ids) - 1, length - 1):
        yield ids[start : start + length]


def _longest(chat: ChatTokenizer, max_length: int | None, whole: int) -> int:
    """Tokens of the longest example: within max_length and the model's positions."""
    limits = [limit for limit in (max_length, chat.max_positions) if limit is not None]
    return min(limits, default=whole)
