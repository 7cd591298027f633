"""The rows of SFT: each source has demonstrations or plain texts, by its first row."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from rlhf.data.files.memory import with_column
from rlhf.data.files.read import Data, Row, Unreadable, read_rows
from rlhf.data.rows import parse
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.length_filter import sft_row_fits
from rlhf.data.rows.load import Loaded, load_rows
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.runtime.distributed import is_main_process
from rlhf.runtime.printing import counted
from rlhf.types import SFTRow

logger = logging.getLogger(__name__)


def load_sft_rows(
    source: Data,
    *,
    role: str = "train",
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    bad_rows: BadRows | None = None,
    train_on: parse.TrainOn = "all",
) -> Loaded[SFTRow]:
    """Demonstrations of a source, or its plain texts; in memory, a string of a list is a text.

    Args:
        source: a file, a hub set or rows in memory, as `read_rows` takes them.
        role: the use's name in the manifest.
        chat: the tokenizer that lengths are counted with.
        max_length: the most tokens of a demonstration; longer texts are split.
        bad_rows: collects bad rows; without it they are raised here.
        train_on: which assistant turns of messages are trained on.

    Raises:
        DataError: see `load_demonstrations`; a row is of another kind than the first one.
    """
    source = with_column(source, "text")
    parse_row: Callable[[Row], SFTRow] = partial(parse.parse_demonstration, train_on=train_on)
    if _has_texts(source):
        parse_row = parse.parse_plain_text
    fits = sft_row_fits(chat, max_length) if chat else None
    loaded = load_rows(source, role, parse_row, fits, bad_rows)
    if chat is not None and is_main_process():
        _warn_of_control_tokens(loaded.use.path, loaded.rows, chat)
    return loaded


def _has_texts(source: Data) -> bool:
    readable = (row for _, row in read_rows(source) if not isinstance(row, Unreadable))
    return parse.is_plain_text(next(readable, {}))


def _warn_of_control_tokens(source: str, rows: Sequence[SFTRow], chat: ChatTokenizer) -> None:
    """Log how many texts contain control tokens: texts that a chat template wrote, above all."""
    texts = [row for row in rows if isinstance(row, str)]
    matches = [match for text in texts if (match := chat.control_tokens.search(text))]
    if matches:
        logger.warning(
            "%s: control tokens such as %r in %s are read as letters; write conversations as "
            "{messages} rows",
            source,
            matches[0].group(),
            counted(len(matches), "text"),
        )
