"""Columns of a row that several kinds of rows have; each check raises `DataError` with a reason."""

import unicodedata
from collections.abc import Sequence
from typing import Any, overload

from rlhf.data.files.raw import Row
from rlhf.data.rows.messages import messages_of, type_name
from rlhf.errors import reject_row
from rlhf.types import Message, Prompt

# Columns that contain a response or a judgement. Two of them in one row are two things to train on.
RESPONSES = ("messages", "completion", "chosen", "rejected", "responses")
_NOT_TEXT = ("images", "image", "videos", "video", "audio", "audios")
# Columns that change what is trained and that no trainer reads, each with what to do instead.
_IN_THE_MESSAGE = "move it into the assistant's message, or before the response as <think>…</think>"
_NOT_READ = {
    "functions": "write tools, a list of JSON schemas",
    "reasoning_content": _IN_THE_MESSAGE,
    "thinking": _IN_THE_MESSAGE,
    "history": "move it into the prompt, as messages",
    "documents": "move them into the prompt",
}


def check_columns(row: Row, used: Sequence[str]) -> None:
    """Reject columns that look like training data and would silently be left out."""
    for name in _NOT_TEXT:
        if row.get(name):
            reject_row(f"{name}: only text is read; remove the column if the text is enough")
    if row.get("chat_template_kwargs"):
        reject_row("chat_template_kwargs is a key of the run, the same for all rows")
    for name in RESPONSES:
        if name in row and name not in used:
            other = next((column for column in used if column in row), "prompt")
            reject_row(f"{name} next to {other}: a row has one or the other")


def check_context(row: Row) -> None:
    """Reject columns that training would silently leave out."""
    for name, instead in _NOT_READ.items():
        if row.get(name):
            reject_row(f"{name}: this column is not read; {instead}, or remove the column")


def value_of(row: Row, key: str, needed: str) -> Any:
    """The value of a column that the row needs; `needed` lists its columns for the reason."""
    if key not in row:
        columns = ", ".join(row) or "nothing but null"
        reject_row(f"no {key}; a row needs {needed}, this one has {columns}")
    return row[key]


def prompt_of(row: Row, needed: str) -> Prompt:
    """The prompt: a string, or messages that end with a user's or a tool's."""
    value = value_of(row, "prompt", needed)
    if not isinstance(value, str | list):
        reject_row(f"prompt is {type_name(value)}, neither text nor a list of messages")
    prompt: Prompt = value
    if isinstance(value, list):
        prompt = messages_of(value, "prompt", last=("user", "tool"))
    return with_system(row, prompt)


@overload
def with_system(row: Row, prompt: list[Message]) -> list[Message]: ...


@overload
def with_system(row: Row, prompt: Prompt) -> Prompt: ...


def with_system(row: Row, prompt: Prompt) -> Prompt:
    """The prompt after the row's `system` or `system_prompt` text, where it has one."""
    columns = [name for name in ("system", "system_prompt") if row.get(name)]
    if not columns:
        return prompt
    text = row[columns[0]]
    if not isinstance(text, str) or len(columns) > 1:
        reject_row(f"{' and '.join(columns)}: one text is expected")
    turns = prompt_turns(prompt)
    if any(turn["role"] in ("system", "developer") for turn in turns):
        if turns[0]["content"].strip() == text.strip():
            return prompt
        reject_row(f"{columns[0]} next to a conversation that has a {turns[0]['role']} message")
    return [{"role": "system", "content": text}, *turns]


def prompt_turns(prompt: Prompt) -> Sequence[Message]:
    """The prompt as messages; a text is the user's."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def after_prompt(turns: Sequence[Message], prompt: Prompt, name: str) -> list[Message]:
    """The turns after the prompt, where they repeat it."""
    before = prompt_turns(prompt)
    if turns[0]["role"] in ("assistant", "tool"):
        return list(turns)
    if list(turns[: len(before)]) != list(before) or len(turns) == len(before):
        reject_row(f"{name} is a conversation that does not begin with the prompt")
    return list(turns[len(before) :])


def annotator_of(row: Row) -> str:
    """The annotator's name, "" where the row has none; a number is a name too."""
    value = row.get("annotator")
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        reject_row(f"annotator is {type(value).__name__}, neither a name nor a number")
    # One annotator, whichever way a program composes the letters of the name.
    return "" if value is None else unicodedata.normalize("NFC", str(value))


def text_of(value: object, name: str) -> str:
    """`value`, a text that is not blank."""
    if not isinstance(value, str):
        reject_row(f"{name} is {type_name(value)}, not text")
    if not value.strip():
        reject_row(f"{name} is empty")
    return value


def list_of(value: object, name: str) -> list[object]:
    """`value`, a list that is not empty."""
    if not isinstance(value, list):
        reject_row(f"{name} is {type_name(value)}, not a list")
    if not value:
        reject_row(f"{name} is an empty list")
    return value
