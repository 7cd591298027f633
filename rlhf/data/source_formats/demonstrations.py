"""Rows of other people's demonstrations: each function takes one and returns ours."""

import re
from typing import Any

from rlhf.data.files.raw import Row
from rlhf.data.source_formats.parts import ROLES, Converted, from_json, texts, thumb, with_input
from rlhf.errors import DataError

OPENING_WORDS = 6
THUMB_DOWN = "thumb down: no answer to imitate"


def question_answer(row: Row) -> Converted:
    """`{"question", "answer"}` (GSM8K), also with `context`; OpenOrca's `system_prompt`."""
    question, answer = texts(row, "question", "response" if "response" in row else "answer")
    given = [_passage(row[key], key) for key in ("context", "passage") if row.get(key)]
    prompt: Any = "\n\n".join([*given, question])
    before = _system(row, "system_prompt")
    whole = [*before, {"role": "user", "content": prompt}] if before else prompt
    return Converted([{"prompt": whole, "completion": answer}])


def instruction(row: Row) -> Converted:
    """Alpaca: `instruction`, `input`, `output`; Dolly; LLaMA-Factory's `system`, `history`."""
    (asked,) = texts(row, "instruction")
    instances = row.get("instances", [row])
    if not isinstance(instances, list) or not all(isinstance(one, dict) for one in instances):
        raise DataError("no instances, each with input and output")
    before = [*_system(row, "system"), *_history(row.get("history"))]
    if "kto_tag" in row and not thumb(row["kto_tag"], "kto_tag"):
        return Converted([], [THUMB_DOWN])
    return Converted([_instance(asked, one, before) for one in instances])


def _instance(asked: str, given: Row, before: list[Row]) -> Row:
    prompt = with_input(asked, given.get("input") or given.get("context"))
    output = given.get("response" if "response" in given else "output")
    whole: Any = [*before, {"role": "user", "content": prompt}] if before else prompt
    if "chosen" in given and "rejected" in given:
        return {"prompt": whole, "chosen": given["chosen"], "rejected": given["rejected"]}
    if any(turn["role"] == "assistant" for turn in before):  # its answers are learned, too
        return {"messages": [*whole, {"role": "assistant", "content": output}]}
    return {"prompt": whole, "completion": output}


def sharegpt(row: Row) -> Converted:
    """`conversations` of `{"from", "value"}`, with `system`, `tools`, `chosen` and `rejected`."""
    turns = row.get("conversations")
    if not isinstance(turns, list):
        raise DataError("no conversations")
    if "kto_tag" in row and not thumb(row["kto_tag"], "kto_tag"):
        return Converted([], [THUMB_DOWN])
    messages = [_turn(turn) for turn in turns]
    system = _system(row, "system")
    if system and messages[:1] and messages[0]["role"] == "system" and messages[:1] != system:
        raise DataError("no one system prompt: the column and the first turn differ")
    whole = messages if messages[:1] == system else [*system, *messages]
    tools = {"tools": _tools(row["tools"])} if row.get("tools") else {}
    if "chosen" in row or "rejected" in row:
        pair = {key: [_turn(row.get(key))] for key in ("chosen", "rejected")}
        return Converted([{"prompt": whole, **pair, **tools}])
    return Converted([{"messages": whole, **tools}])


def thumbs(row: Row) -> Converted:
    """`{"prompt", "completion", "label"}`: the thumbs up become demonstrations, the others go."""
    if not thumb(row.get("label"), "label"):
        return Converted([], [THUMB_DOWN])
    return Converted([{"prompt": row.get("prompt"), "completion": row.get("completion")}])


def opening(row: Row) -> Converted:
    """`{"text"}`: its first words as a raw prompt, the rest as completion (chat_template: none)."""
    (text,) = texts(row, "text")
    found = re.match(rf"\s*(?:\S+\s+){{{OPENING_WORDS - 1}}}\S+(?=\s)", text)
    if found is None:
        raise DataError(f"no more than {OPENING_WORDS} words")
    return Converted([{"prompt": found.group().lstrip(), "completion": text[found.end() :]}])


def _passage(value: Any, name: str) -> str:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "\n\n".join(value)
    if not isinstance(value, str):
        raise DataError(f"no {name} that is a text, or a list of texts")
    return value


def _system(row: Row, key: str) -> list[Row]:
    return [{"role": "system", "content": texts(row, key)[0]}] if row.get(key) else []


def _history(value: Any) -> list[Row]:
    """Turns of `[[question, answer], …]`."""
    turns: list[Row] = []
    for pair in from_json(value or [], "history"):
        if not isinstance(pair, list) or [type(text) for text in pair] != [str, str]:
            raise DataError(f"no history of [question, answer] pairs: {str(pair)[:60]!r}")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def _turn(turn: Any) -> Row:
    speaker = str(turn.get("from")).lower() if isinstance(turn, dict) else ""
    if speaker not in ROLES:
        raise DataError(f"no turn with from and value: {str(turn)[:60]!r}")
    message: Row = {"role": ROLES[speaker], "content": turn.get("value", "")}
    if speaker == "function_call":
        calls = from_json(message["content"], "function_call")
        message["content"] = ""
        message["tool_calls"] = [_call(one) for one in (calls if type(calls) is list else [calls])]
    return message


def _call(value: Any) -> Row:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise DataError(f"no function_call with name and arguments: {str(value)[:60]!r}")
    arguments = from_json(value.get("arguments", {}), "arguments")
    return {"type": "function", "function": {"name": value["name"], "arguments": arguments}}


def _tools(value: Any) -> list[Row]:
    tools = from_json(value, "tools")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError("no tools that are a list of descriptions")
    return [
        tool if "function" in tool else {"type": "function", "function": tool} for tool in tools
    ]
