"""Conversations on disk: one `messages` row each, which SFT reads as a demonstration."""

import json
from collections.abc import Sequence
from pathlib import Path

from rlhf.data.files.read import Unreadable, read_rows
from rlhf.data.rows.parse import parse_demonstration
from rlhf.data.tokenization.chat import as_messages
from rlhf.data.tokenization.thoughts import split_thought, with_thought
from rlhf.errors import DataError
from rlhf.types import Message


def save(path: Path, messages: Sequence[Message]) -> None:
    """Append the conversation to a JSONL file; a thought is a message's `reasoning_content`.

    Raises:
        DataError: nothing was answered yet, or the file cannot be written.
    """
    row = {"messages": [_saved(turn) for turn in messages]}
    if not messages:
        raise DataError("nothing was said yet; there is nothing to save.")
    parse_demonstration(row)  # what is saved can be loaded, here and by SFT
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from error


def load(path: str, number: int | None = None) -> list[Message]:
    """The conversation in row `number` of a file, counted from 1; the last one without it.

    Raises:
        DataError: no such file or row, or a row that is no conversation.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file; /save writes one.")
    rows = list(read_rows(path))
    at = len(rows) if number is None else number
    if not 1 <= at <= len(rows):
        raise DataError(f"{path} has {len(rows)} rows; row {at} is none of them.")
    where, row = rows[at - 1]
    if isinstance(row, Unreadable):
        raise DataError(f"{where}: {row.reason}")
    try:
        said = parse_demonstration(row)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return [_spoken(turn) for turn in (*as_messages(said.prompt), said.turn)]


def _saved(turn: Message) -> Message:
    if turn["role"] != "assistant":
        return turn
    thought, text = split_thought(turn["content"])
    return {**turn, "content": text} | ({"reasoning_content": thought} if thought else {})


def _spoken(turn: Message) -> Message:
    """A message with its thought in its text, as a conversation has it."""
    fields = {key: value for key, value in turn.items() if key != "reasoning_content"}
    return {**fields, "content": with_thought(turn.get("reasoning_content", ""), turn["content"])}
