"""Rows of other people's files -> rows of ours: each function takes one and returns its rows."""

import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from rlhf.data.read import Row
from rlhf.errors import DataError
from rlhf.types import Message

_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
OPENING_WORDS = 6


def hh(row: Row) -> list[Row]:
    """Anthropic HH: "\\n\\nHuman: … \\n\\nAssistant:" text, prompt apart or inside both answers."""
    chosen, rejected = _texts(row, "chosen", "rejected")
    if "prompt" in row:
        (before,) = _texts(row, "prompt")
    else:
        cut = chosen.rfind("\n\nAssistant:") + len("\n\nAssistant:")
        before, chosen = chosen[:cut], chosen[cut:]
        rejected = rejected[rejected.rfind("\n\nAssistant:") + len("\n\nAssistant:") :]
    pair = {"chosen": chosen.strip(), "rejected": rejected.strip()}
    return [{"prompt": _hh_messages(before), **pair}]


def pandalm(row: Row) -> list[Row]:
    """PandaLM test set: two answers and 1, 2 or 0 (a tie) of each annotator: a ranking of each."""
    (instruction,) = _texts(row, "instruction")
    names = [key for key in row if re.fullmatch(r"annotator\d+", key)]
    prompt = _with_input(instruction, row.get("input", ""))
    ranks = {"1": [1, 2], "2": [2, 1], "0": [1, 1]}
    if not names or any(str(row[name]) not in ranks for name in names):
        raise DataError("no annotator1, annotator2, … with 1, 2 or 0")
    shared = {"prompt": prompt, "responses": list(_texts(row, "response1", "response2"))}
    return [{**shared, "ranks": ranks[str(row[name])], "annotator": name} for name in names]


def oasst(row: Row) -> list[Row]:
    """Open-Assistant: a conversation (`messages`) and its `responses`, best first."""
    responses = row.get("responses")
    if row.get("order", "best_first") != "best_first" or not isinstance(responses, list):
        raise DataError("no responses in best_first order")
    ranks = list(range(1, len(responses) + 1))
    return [{"prompt": row.get("messages"), "responses": responses, "ranks": ranks}]


def summeval(row: Row) -> list[Row]:
    """SummEval: expert scores on several axes; ranked by their mean, equal means tie."""
    scores = row.get("scores")
    axes = list(scores.values()) if isinstance(scores, dict) else []
    if not axes or not all(_numbers(axis) and len(axis) == len(axes[0]) for axis in axes):
        raise DataError("no scores: axis -> one number a response")
    means = [round(sum(of_one) / len(axes), 6) for of_one in zip(*axes, strict=True)]
    responses = row.get("responses")
    return [
        {
            "prompt": row.get("prompt"),
            "responses": responses,
            "ranks": rank(mean_of_text(means, responses)),
        }
    ]


def scored(row: Row) -> list[Row]:
    """`scores` as one list, a number a response: the higher the better, equal ones tie."""
    scores = row.get("scores")
    if not isinstance(scores, list) or not _numbers(scores):
        raise DataError("no scores, one number a response")
    ranks = rank(mean_of_text(scores, row.get("responses")))
    return [{**{k: v for k, v in row.items() if k != "scores"}, "ranks": ranks}]


def question_answer(row: Row) -> list[Row]:
    """`{"question", "answer"}`, as in GSM8K."""
    question, answer = _texts(row, "question", "answer")
    return [{"prompt": question, "completion": answer}]


def instruction(row: Row) -> list[Row]:
    """`{"instruction", "input", "output"}` (Alpaca), or `instances` of them (Self-Instruct)."""
    (asked,) = _texts(row, "instruction")
    instances = row.get("instances", [row])
    if not isinstance(instances, list) or not all(isinstance(one, dict) for one in instances):
        raise DataError("no instances, each with input and output")
    return [
        {
            "prompt": _with_input(asked, instance.get("input", "")),
            "completion": instance.get("output"),
        }
        for instance in instances
    ]


def sharegpt(row: Row) -> list[Row]:
    """`conversations` of `{"from", "value"}`: `messages`."""
    turns = row.get("conversations")
    if not isinstance(turns, list):
        raise DataError("no conversations")
    return [{"messages": [_turn(turn) for turn in turns]}]


def thumbs(row: Row) -> list[Row]:
    """`{"prompt", "completion", "label"}`: the thumbs up become demonstrations, the others go."""
    if not isinstance(row.get("label"), bool):
        raise DataError("no label that is true or false")
    kept = {"prompt": row.get("prompt"), "completion": row.get("completion")}
    return [kept] if row["label"] else []


def opening(row: Row) -> list[Row]:
    """`{"text"}`: its first words as a raw prompt, the rest as completion (chat_template: none)."""
    (text,) = _texts(row, "text")
    found = re.match(rf"\s*(?:\S+\s+){{{OPENING_WORDS - 1}}}\S+(?=\s)", text)
    if found is None:
        raise DataError(f"no more than {OPENING_WORDS} words")
    return [{"prompt": found.group().lstrip(), "completion": text[found.end() :]}]


SHAPES: dict[str, Callable[[Row], list[Row]]] = {
    "hh": hh,
    "pandalm": pandalm,
    "oasst": oasst,
    "summeval": summeval,
    "scored": scored,
    "question_answer": question_answer,
    "instruction": instruction,
    "sharegpt": sharegpt,
    "thumbs": thumbs,
    "opening": opening,
}
# Keys by which an error message knows a shape; nothing is converted without being asked for.
_TELLING_KEYS = {
    "pandalm": {"instruction", "response1", "response2", "annotator1"},
    "oasst": {"messages", "responses", "order"},
    "summeval": {"prompt", "responses", "scores"},
    "question_answer": {"question", "answer"},
    "instruction": {"instruction"},
    "sharegpt": {"conversations"},
    "thumbs": {"prompt", "completion", "label"},
    "sentiment": {"text", "label"},
}


def guess_shape(row: Any) -> str | None:
    """The name of the shape that a row's keys look like, for a hint."""
    if not isinstance(row, dict):
        return None
    return next((name for name, keys in _TELLING_KEYS.items() if keys <= row.keys()), None)


def rank(scores: Sequence[float]) -> list[int]:
    """1 for the highest score, equal scores share a rank, the next one counts on: [1, 2, 2, 4]."""
    return [1 + sum(other > score for other in scores) for score in scores]


def mean_of_text(scores: Sequence[float], texts: Any) -> list[float]:
    """`scores` with those of equal texts, but for the space around them, at their mean.

    People score one text twice, and not alike. What is no list of as many texts is for the
    check of the row to refuse.
    """
    if not isinstance(texts, list | tuple) or len(texts) != len(scores):
        return list(scores)
    keys = [text.strip() if isinstance(text, str) else repr(text) for text in texts]
    of_text: dict[str, list[float]] = {}
    for key, score in zip(keys, scores, strict=True):
        of_text.setdefault(key, []).append(score)
    return [statistics.mean(of_text[key]) for key in keys]


def _texts(row: Row, *keys: str) -> tuple[str, ...]:
    for key in keys:
        if not isinstance(row.get(key), str):
            raise DataError(f"no {key} that is text")
    return tuple(row[key] for key in keys)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int | float) for one in value)


def _with_input(asked: str, given: Any) -> str:
    return f"{asked}\n\n{given}" if isinstance(given, str) and given.strip() else asked


def _hh_messages(transcript: str) -> list[Message]:
    parts = _HH_TURN.split(transcript)
    speakers, texts = parts[1::2], parts[2::2]
    if parts[0].strip() or not speakers or speakers[-1] != "Assistant" or texts[-1].strip():
        raise DataError("no transcript of Human and Assistant that ends at the Assistant's turn")
    turns = zip(speakers[:-1], texts[:-1], strict=True)
    return [{"role": _ROLES[speaker.lower()], "content": text.strip()} for speaker, text in turns]


def _turn(turn: Any) -> Message:
    if not isinstance(turn, dict) or str(turn.get("from")).lower() not in _ROLES:
        raise DataError(f"a turn without from and value: {str(turn)[:60]!r}")
    return {"role": _ROLES[str(turn["from"]).lower()], "content": turn.get("value", "")}
