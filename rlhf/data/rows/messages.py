"""Messages and tools of a row, in the form that chat templates take, or a `DataError`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf.data.files.raw import Row
from rlhf.data.tokenization.thoughts import THINK
from rlhf.errors import reject_row
from rlhf.types import Message, MessageFields, Tools

ROLES = ("system", "user", "assistant", "tool", "developer")
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")  # three names of one field
# Fields that change what is trained or what the model reads, with the name to write instead.
_INSTEAD = {
    "function_call": "tool_calls",
    "reasoning_details": "reasoning_content",
    "thoughts": "reasoning_content",
    "loss": "weight",
    "train": "weight",
    "training": "weight",
    "masked": "weight",
    "mask": "weight",
}
_READ = ("role", "content", "name", "tool_call_id", "weight", "tool_calls", *_THOUGHTS)
_NOT_TEXT = ("images", "image", "audio", "video", "refusal")


def messages_of(value: object, name: str, *, last: Sequence[str] = ()) -> list[Message]:
    """The messages of a conversation, which has to end with one of the roles `last`, if any.

    Whether the order of the other roles is right is left to the template.
    """
    if not isinstance(value, list):
        reject_row(f"{name} is {type_name(value)}, not a list")
    if not value:
        reject_row(f"{name} is an empty list")
    turns = [_turn(turn, name) for turn in value]
    if last and turns[-1]["role"] not in last:
        roles = ", ".join(turn["role"] for turn in turns)
        reject_row(f"{name}: roles {roles}; the last one has to be {' or '.join(last)}")
    return turns


def check_fields(turns: Sequence[Mapping[str, object]], name: str) -> None:
    """Reject a message with a field that `messages_of` would leave out.

    Files have such fields (ids, times); a request that has one is a mistake. A field that is null
    has no content: libraries send `refusal`, for example, with every message.
    """
    fields = [field for turn in turns for field, content in turn.items() if content is not None]
    unknown = [field for field in fields if field not in (*_READ, *_INSTEAD)]
    if unknown:
        reject_row(f"{name}: a message's {unknown[0]} is not read; it has {', '.join(_READ)}")


def tools_of(row: Row) -> Tools:
    """The row's `tools`: a list of JSON schemas, or its JSON text."""
    value = _parsed(row.get("tools") or [])
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        reject_row(f"tools is {type_name(value)}, not a list of JSON schemas")
    return tuple(_pruned(tool) for tool in value)


def _turn(value: object, name: str) -> Message:
    if not isinstance(value, Mapping) or "role" not in value:
        reject_row(f'{name}: a message is {{"role", "content"}}, not {str(value)[:60]!r}')
    fields = {key: content for key, content in value.items() if content not in (None, [], "")}
    role = value["role"]
    if role not in ROLES:
        reject_row(f"{name}: unknown role {role!r}; use {', '.join(ROLES)}")
    for field, instead in _INSTEAD.items():
        if field in fields:
            reject_row(f"{name}: a message's {field} is not read; write {instead}")
    for field in _NOT_TEXT:
        if field in fields:
            reject_row(f"{name}: a message's {field} is not read; only text is")
    content = _content(value.get("content"), f"{name}: content")
    turn: Message = {"role": role, "content": content}
    if "name" in fields:
        turn["name"] = _text(fields["name"], f"{name}: name")
    if "tool_call_id" in fields:
        turn["tool_call_id"] = _text(fields["tool_call_id"], f"{name}: tool_call_id")
    if "weight" in value and value["weight"] is not None:
        turn["weight"] = _weight(value["weight"], role, name)
    if role == "assistant":
        turn = {**turn, **_assistant_fields(fields, name)}
        if not turn["content"].strip() and "tool_calls" not in turn:
            reject_row(f"{name}: the assistant's content is empty")
        return turn
    for field in (*_THOUGHTS, "tool_calls"):
        if field in fields:
            reject_row(f"{name}: {field} belongs to the assistant, not to {role}")
    return turn


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        reject_row(f"{name} is {type_name(value)}, not text")
    return value


def _content(value: object, name: str) -> str:
    """The content's text, or the joined texts of its parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        reject_row(f"{name} is {type_name(value)}, not text")
    texts = []
    for part in value:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            reject_row(f"{name} has a part of type {kind!r}; only text is read")
        texts.append(part["text"])
    return "".join(texts)


def _assistant_fields(fields: Mapping[str, object], name: str) -> MessageFields:
    """Thought and tool calls of an assistant's message, under their usual names."""
    usual: MessageFields = {}
    thoughts = {key: fields[key] for key in _THOUGHTS if key in fields}
    if len(set(map(str, thoughts.values()))) > 1:
        reject_row(f"{name}: {' and '.join(thoughts)} differ; give one of them")
    for key, thought in list(thoughts.items())[:1]:
        if not isinstance(thought, str):
            reject_row(f"{name}: {key} is {type_name(thought)}, not text")
        if str(fields.get("content", "")).lstrip().startswith(THINK):
            reject_row(f"{name}: a thought in {key} and another in the content; give one of them")
        usual["reasoning_content"] = thought
    if "tool_calls" in fields:
        usual["tool_calls"] = _tool_calls(_parsed(fields["tool_calls"]), name)
    return usual


def _tool_calls(value: object, name: str) -> list[Row]:
    """Calls with their arguments as an object, as templates expect; OpenAI's files have JSON."""
    if not isinstance(value, list) or not all(isinstance(call, Mapping) for call in value):
        reject_row(f"{name}: tool_calls is {type_name(value)}, not a list of calls")
    calls: list[Row] = []
    for call in value:
        function = call.get("function", call)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            reject_row(f"{name}: a tool call without a function's name: {str(call)[:60]!r}")
        arguments = _parsed(function.get("arguments") or {})
        if not isinstance(arguments, Mapping):
            reject_row(f"{name}: the arguments of {function['name']} are not a JSON object")
        calls.append(
            {
                **{key: call[key] for key in ("id",) if call.get(key)},
                "type": "function",
                "function": {"name": function["name"], "arguments": _pruned(arguments)},
            }
        )
    return calls


def _weight(value: object, role: str, name: str) -> int:
    if isinstance(value, bool) or value not in (0, 1):
        reject_row(f"{name}: weight {value!r} is neither 0 (not trained on) nor 1")
    if role != "assistant":
        reject_row(f"{name}: weight belongs to the assistant, not to {role}")
    return int(value)


def _parsed(value: object) -> object:
    """The value of a JSON text; any other value unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _pruned(value: object) -> Any:
    """`value` without null keys: Parquet gives every tool the keys of all tools."""
    if isinstance(value, Mapping):
        return {key: _pruned(content) for key, content in value.items() if content is not None}
    return [_pruned(item) for item in value] if isinstance(value, list) else value


def type_name(value: object) -> str:
    """The type of a value, for an error message."""
    return "null" if value is None else type(value).__name__
