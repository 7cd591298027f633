"""Converters of published formats of demonstrations; each takes a row and returns `Converted`."""

import re

from rlhf.data.files.raw import Row
from rlhf.data.source_formats.parts import (
    ROLES,
    Converted,
    from_json,
    texts,
    thumb,
    with_input,
)
from rlhf.errors import reject_row

OPENING_WORDS = 6
THUMB_DOWN = "thumb down: not a response to imitate"


def question_answer(row: Row) -> Converted:
    """`{"question", "answer"}` (GSM8K), also with `context`; OpenOrca's `system_prompt`."""
    question, response = texts(row, "question", "response" if "response" in row else "answer")
    passages = [_passage(row[key], key) for key in ("context", "passage") if row.get(key)]
    text = "\n\n".join([*passages, question])
    system = _system(row, "system_prompt")
    prompt = [*system, {"role": "user", "content": text}] if system else text
    return Converted([{"prompt": prompt, "completion": response}])


def instruction(row: Row) -> Converted:
    """Alpaca: `instruction`, `input`, `output`; Dolly; LLaMA-Factory's `system`, `history`."""
    (text,) = texts(row, "instruction")
    instances = row.get("instances", [row])
    if not isinstance(instances, list) or not all(isinstance(each, dict) for each in instances):
        reject_row("instances is not a list of rows with input and output")
    before = [*_system(row, "system"), *_history(row.get("history"))]
    if "kto_tag" in row and not thumb(row["kto_tag"], "kto_tag"):
        return Converted([], [THUMB_DOWN])
    return Converted([_instance(text, each, before) for each in instances])


def _instance(text: str, instance: Row, before: list[Row]) -> Row:
    content = with_input(text, instance.get("input") or instance.get("context"))
    output = instance.get("response" if "response" in instance else "output")
    turns: list[Row] = [*before, {"role": "user", "content": content}]
    prompt = turns if before else content
    if "chosen" in instance and "rejected" in instance:
        return {"prompt": prompt, "chosen": instance["chosen"], "rejected": instance["rejected"]}
    if any(turn["role"] == "assistant" for turn in before):  # these turns are trained on, too
        return {"messages": [*turns, {"role": "assistant", "content": output}]}
    return {"prompt": prompt, "completion": output}


def sharegpt(row: Row) -> Converted:
    """`conversations` of `{"from", "value"}`, with `system`, `tools`, `chosen` and `rejected`."""
    turns = row.get("conversations")
    if not isinstance(turns, list):
        reject_row("conversations is missing or not a list")
    if "kto_tag" in row and not thumb(row["kto_tag"], "kto_tag"):
        return Converted([], [THUMB_DOWN])
    messages = [_turn(turn) for turn in turns]
    system = _system(row, "system")
    if system and messages[:1] and messages[0]["role"] == "system" and messages[:1] != system:
        reject_row("two system prompts: the column system and the first turn differ")
    prompt = messages if messages[:1] == system else [*system, *messages]
    tools = {"tools": _tools(row["tools"])} if row.get("tools") else {}
    if "chosen" in row or "rejected" in row:
        pair = {key: [_turn(row.get(key))] for key in ("chosen", "rejected")}
        return Converted([{"prompt": prompt, **pair, **tools}])
    return Converted([{"messages": prompt, **tools}])


def thumbs(row: Row) -> Converted:
    """`{"prompt", "completion", "label"}`: thumbs up become demonstrations, the rest is dropped."""
    if not thumb(row.get("label"), "label"):
        return Converted([], [THUMB_DOWN])
    kept = {"endings": row["endings"]} if "endings" in row else {}  # SFT reads it
    return Converted([{"prompt": row.get("prompt"), "completion": row.get("completion"), **kept}])


def opening(row: Row) -> Converted:
    """`{"text"}`: its first words as a raw prompt, the rest as completion (chat_template: none)."""
    (text,) = texts(row, "text")
    words = re.match(rf"\s*(?:\S+\s+){{{OPENING_WORDS - 1}}}\S+(?=\s)", text)
    if words is None:
        reject_row(f"text has no more than {OPENING_WORDS} words")
    return Converted([{"prompt": words.group().lstrip(), "completion": text[words.end() :]}])


def _passage(value: object, name: str) -> str:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "\n\n".join(value)
    if not isinstance(value, str):
        reject_row(f"{name} is neither a text nor a list of texts")
    return value


def _system(row: Row, key: str) -> list[Row]:
    return [{"role": "system", "content": texts(row, key)[0]}] if row.get(key) else []


def _history(value: object) -> list[Row]:
    """Turns of `[[question, answer], …]`."""
    turns: list[Row] = []
    pairs = from_json(value or [], "history")
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, list) or [type(text) for text in pair] != [str, str]:
            reject_row(f"history is not a list of [question, answer] pairs: {str(pair)[:60]!r}")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def _turn(turn: object) -> Row:
    if not isinstance(turn, dict) or (speaker := str(turn.get("from")).lower()) not in ROLES:
        reject_row(f"a turn without from and value: {str(turn)[:60]!r}")
    message: Row = {"role": ROLES[speaker], "content": turn.get("value", "")}
    if speaker == "function_call":
        calls = from_json(message["content"], "function_call")
        message["content"] = ""
        message["tool_calls"] = [
            _call(call) for call in (calls if isinstance(calls, list) else [calls])
        ]
    return message


def _call(value: object) -> Row:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        reject_row(f"a function_call without name and arguments: {str(value)[:60]!r}")
    arguments = from_json(value.get("arguments", {}), "arguments")
    return {"type": "function", "function": {"name": value["name"], "arguments": arguments}}


def _tools(value: object) -> list[Row]:
    tools = from_json(value, "tools")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        reject_row("tools is not a list of descriptions")
    return [
        tool if "function" in tool else {"type": "function", "function": tool} for tool in tools
    ]
