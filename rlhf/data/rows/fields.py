"""Columns of a row that several kinds of rows have, or a `DataError` with the reason."""

from collections.abc import Sequence
from typing import Any

from rlhf.data.files.read import Row
from rlhf.data.rows.messages import kind_of, messages_of, refuse
from rlhf.types import Message, Prompt

# Columns that hold a response or a judgement. Two of them in one row are two things to train on.
RESPONSES = ("messages", "completion", "chosen", "rejected", "responses")
_UNSEEN = ("images", "image", "videos", "video", "audio", "audios")
# Columns that change what is trained and that no trainer reads, each with what to do about it.
_IN_THE_MESSAGE = "move it into the assistant's message, or before the response as <think>…</think>"
_LOST = {
    "functions": "write tools, a list of JSON schemas",
    "reasoning_content": _IN_THE_MESSAGE,
    "thinking": _IN_THE_MESSAGE,
    "history": "move it into the prompt, as messages",
    "documents": "move them into the prompt",
}


def check_columns(row: Row, used: Sequence[str]) -> None:
    """Refuse columns that look like training data and would be left out without a word."""
    for name in _UNSEEN:
        if row.get(name):
            refuse(f"{name}: only text is read; leave the column out if the text is enough")
    if row.get("chat_template_kwargs"):
        refuse("chat_template_kwargs is a key of the run, the same for all rows")
    for name in RESPONSES:
        if name in row and name not in used:
            beside = next((other for other in used if other in row), "prompt")
            refuse(f"{name} next to {beside}: a row is one or the other")


def check_context(row: Row) -> None:
    """Refuse columns that training would leave out without a word."""
    for name, instead in _LOST.items():
        if row.get(name):
            refuse(f"{name}: this column is not read; {instead}, or leave the column out")


def value_of(row: Row, key: str, wanted: str) -> Any:
    if key not in row:
        refuse(
            f"no {key}; a row needs {wanted}, this one has {', '.join(row) or 'nothing but null'}"
        )
    return row[key]


def prompt_of(row: Row, wanted: str) -> Prompt:
    """A string, or messages that end with the user's or a tool's."""
    value = value_of(row, "prompt", wanted)
    if not isinstance(value, str | list):
        refuse(f"prompt is {kind_of(value)}, neither text nor a list of messages")
    if isinstance(value, list):
        value = messages_of(value, "prompt", last=("user", "tool"))
    prompt: Prompt = with_system(row, value)
    return prompt


def with_system(row: Row, prompt: Any) -> Any:
    """The prompt after the row's `system` or `system_prompt` text, where it has one."""
    given = [name for name in ("system", "system_prompt") if row.get(name)]
    if not given:
        return prompt
    text = row[given[0]]
    if not isinstance(text, str) or len(given) > 1:
        refuse(f"{' and '.join(given)}: one text is expected")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if any(turn["role"] in ("system", "developer") for turn in turns):
        if turns[0]["content"].strip() == text.strip():
            return prompt
        refuse(f"{given[0]} next to a conversation that has a {turns[0]['role']} message")
    return [{"role": "system", "content": text}, *turns]


def after_prompt(turns: Sequence[Message], prompt: Prompt, name: str) -> list[Message]:
    """The turns behind the prompt, where they repeat it."""
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if turns[0]["role"] in ("assistant", "tool"):
        return list(turns)
    if list(turns[: len(asked)]) != list(asked) or len(turns) == len(asked):
        refuse(f"{name} is a conversation that does not begin with the prompt")
    return list(turns[len(asked) :])


def text_of(value: Any, name: str) -> str:
    if not isinstance(value, str):
        refuse(f"{name} is {kind_of(value)}, not text")
    if not value.strip():
        refuse(f"{name} is empty")
    return value


def list_of(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        refuse(f"{name} is {kind_of(value)}, not a list")
    if not value:
        refuse(f"{name} is an empty list")
    return value
