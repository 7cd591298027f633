"""Conversations on disk: one `messages` row each, which SFT reads as a demonstration."""

import json
from collections.abc import Sequence
from pathlib import Path

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.parse import parse_demonstration
from rlhf.data.tokenization.chat import as_messages
from rlhf.data.tokenization.thoughts import split_thought, with_thought
from rlhf.errors import DataError
from rlhf.runtime.printing import counted
from rlhf.types import Message


def save_conversation(path: Path, messages: Sequence[Message]) -> None:
    """Append a conversation to a JSONL file; thoughts go into `reasoning_content`.

    Raises:
        DataError: there is no response yet, or the file cannot be written.
    """
    row: Row = {"messages": [_with_thought_field(message) for message in messages]}
    if not messages:
        raise DataError("the conversation is empty; there is nothing to save.", code="no-rows")
    try:
        parse_demonstration(row)  # /load and SFT can read whatever is saved
    except DataError as error:
        raise DataError(f"{path}: {error}", code="bad-row") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}; give another file.",
            code="unreadable-file",
        ) from error


def load_conversation(path: str, number: int | None = None) -> list[Message]:
    """The conversation in row `number` of a file, counted from 1; by default the last one.

    Raises:
        DataError: there is no such file or row, or the row is not a conversation.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file; /save writes one.", code="missing-file")
    rows = list(read_rows(path))
    index = len(rows) if number is None else number
    if not 1 <= index <= len(rows):
        raise DataError(
            f"{path} has {counted(len(rows), 'row')}; there is no row {index}.", code="unknown-name"
        )
    where, row = rows[index - 1]
    if isinstance(row, Unreadable):
        raise DataError(f"{where}: {row.reason}", code="bad-row")
    try:
        demonstration = parse_demonstration(row)
    except DataError as error:
        raise DataError(f"{where}: {error}", code="bad-row") from error
    messages = (*as_messages(demonstration.prompt), demonstration.turn)
    return [_with_thought_in_content(message) for message in messages]


def _with_thought_field(message: Message) -> Message:
    if message["role"] != "assistant":
        return message
    thought, text = split_thought(message["content"])
    fields = message.copy()
    fields["content"] = text
    if thought:
        fields["reasoning_content"] = thought
    return fields


def _with_thought_in_content(message: Message) -> Message:
    """The form in which a conversation keeps a message."""
    fields = message.copy()
    thought = fields.pop("reasoning_content", "")
    fields.pop("cut", None)  # only training reads it
    fields["content"] = with_thought(thought, message["content"])
    return fields
