"""Messages and tools of a row -> the form that chat templates take, or a `DataError`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from rlhf.data.files.read import Row
from rlhf.data.tokenization.thoughts import THINK
from rlhf.errors import DataError
from rlhf.types import Message, Tools

ROLES = ("system", "user", "assistant", "tool", "developer")
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")  # one thing under three names
# Fields that change what is trained, or what the model reads, and that have another name here.
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
_UNSEEN = ("images", "image", "audio", "video", "refusal")


def messages_of(value: Any, name: str, *, last: Sequence[str] = ()) -> list[Message]:
    """A conversation, which ends with one of the roles `last` where any is given.

    The order of the other roles is left to the template.
    """
    if not isinstance(value, list):
        refuse(f"{name} is {kind_of(value)}, not a list")
    if not value:
        refuse(f"{name} is an empty list")
    turns = [_turn(turn, name) for turn in value]
    if last and turns[-1]["role"] not in last:
        roles = ", ".join(turn["role"] for turn in turns)
        refuse(f"{name}: roles {roles}; the last one has to be {' or '.join(last)}")
    return turns


def tools_of(row: Row) -> Tools:
    """The row's `tools`, a list of JSON schemas or its JSON text."""
    value = _parsed(row.get("tools") or [])
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        refuse(f"tools is {kind_of(value)}, not a list of JSON schemas")
    return tuple(_pruned(tool) for tool in value)


def _turn(value: Any, name: str) -> Message:
    if not isinstance(value, Mapping) or "role" not in value:
        refuse(f'{name}: a message is {{"role", "content"}}, not {str(value)[:60]!r}')
    given = {key: content for key, content in value.items() if content not in (None, [], "")}
    role = value["role"]
    if role not in ROLES:
        refuse(f"{name}: unknown role {role!r}; use {', '.join(ROLES)}")
    for field, instead in _INSTEAD.items():
        if field in given:
            refuse(f"{name}: a message's {field} is not read; write {instead}")
    for field in _UNSEEN:
        if field in given:
            refuse(f"{name}: a message's {field} is not read; only text is")
    turn = {"role": role, "content": _content(value.get("content"), f"{name}: content")}
    turn |= {key: given[key] for key in ("name", "tool_call_id") if key in given}
    if "weight" in value and value["weight"] is not None:
        turn["weight"] = _weight(value["weight"], role, name)
    if role == "assistant":
        turn |= _assistant_fields(given, name)
        if not turn["content"].strip() and "tool_calls" not in turn:
            refuse(f"{name}: the assistant's content is empty")
        return turn
    for field in (*_THOUGHTS, "tool_calls"):
        if field in given:
            refuse(f"{name}: {field} belongs to the assistant, not to {role}")
    return turn


def _content(value: Any, name: str) -> str:
    """Text, or the joined texts of parts of type text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        refuse(f"{name} is {kind_of(value)}, not text")
    texts = []
    for part in value:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            refuse(f"{name} has a part of type {kind!r}; only text is read")
        texts.append(part["text"])
    return "".join(texts)


def _assistant_fields(given: Mapping[str, Any], name: str) -> Message:
    fields: Message = {}
    thoughts = {key: given[key] for key in _THOUGHTS if key in given}
    if len(set(map(str, thoughts.values()))) > 1:
        refuse(f"{name}: {' and '.join(thoughts)} differ; give one of them")
    for key, thought in list(thoughts.items())[:1]:
        if not isinstance(thought, str):
            refuse(f"{name}: {key} is {kind_of(thought)}, not text")
        if str(given.get("content", "")).lstrip().startswith(THINK):
            refuse(f"{name}: a thought in {key} and another in the content; give one of them")
        fields["reasoning_content"] = thought
    if "tool_calls" in given:
        fields["tool_calls"] = _tool_calls(_parsed(given["tool_calls"]), name)
    return fields


def _tool_calls(value: Any, name: str) -> list[Message]:
    """Calls with their arguments as an object, as templates expect; OpenAI's files have JSON."""
    if not isinstance(value, list) or not all(isinstance(call, Mapping) for call in value):
        refuse(f"{name}: tool_calls is {kind_of(value)}, not a list of calls")
    calls = []
    for call in value:
        function = call.get("function", call)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            refuse(f"{name}: a tool call without a function's name: {str(call)[:60]!r}")
        arguments = _parsed(function.get("arguments") or {})
        if not isinstance(arguments, Mapping):
            refuse(f"{name}: the arguments of {function['name']} are no JSON object")
        calls.append(
            {
                **{key: call[key] for key in ("id",) if call.get(key)},
                "type": "function",
                "function": {"name": function["name"], "arguments": _pruned(arguments)},
            }
        )
    return calls


def _weight(value: Any, role: str, name: str) -> int:
    if isinstance(value, bool) or value not in (0, 1):
        refuse(f"{name}: weight {value!r} is neither 0 (not trained on) nor 1")
    if role != "assistant":
        refuse(f"{name}: weight belongs to the assistant, not to {role}")
    return int(value)


def _parsed(value: Any) -> Any:
    """What JSON text holds; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _pruned(value: Any) -> Any:
    """Without keys that are null: Parquet gives every tool the keys of all tools."""
    if isinstance(value, Mapping):
        return {key: _pruned(one) for key, one in value.items() if one is not None}
    return [_pruned(one) for one in value] if isinstance(value, list) else value


def kind_of(value: Any) -> str:
    """The type of a value, for a message."""
    return "null" if value is None else type(value).__name__


def refuse(reason: str) -> NoReturn:
    """Raise a `DataError` with the reason."""
    raise DataError(reason)
