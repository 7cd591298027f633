"""What the converters share: checked cells of a row, ranks from scores, turns of a conversation."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from rlhf.data.files.raw import Row
from rlhf.errors import DataError

ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}


@dataclass(frozen=True)
class Converted:
    """The rows that one row becomes."""

    rows: Sequence[Row]
    left_out: Sequence[str] = ()  # of each part of it that becomes none, the reason


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


def preference(prompt: Any, first: str, second: str, score: float) -> Row:
    """A ranking of two by a signed score: below 0 the first is better, 0 is a tie.

    How far it is from 0 is the strength, where there is an order.
    """
    ranks = [1, 2] if score < 0 else [2, 1] if score > 0 else [1, 1]
    if first.strip() == second.strip():
        ranks = [1, 1]
    strength = {"strength": abs(score)} if ranks != [1, 1] else {}
    return {"prompt": prompt, "responses": [first, second], "ranks": ranks, **strength}


def texts(row: Row, *keys: str) -> tuple[str, ...]:
    """The row's texts of `keys`; raises `DataError` where one is none."""
    for key in keys:
        if not isinstance(row.get(key), str):
            raise DataError(f"no {key} that is text")
    return tuple(row[key] for key in keys)


def number(row: Row, key: str, low: float, high: float) -> float:
    """The row's number of `key`; raises `DataError` where it is none in [low, high]."""
    value = row.get(key)
    if not is_number(value) or not low <= value <= high:
        raise DataError(f"no {key} from {low:g} to {high:g}: {str(value)[:40]!r}")
    return value


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number; True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def numbers(value: Any) -> bool:
    """Whether it is a list of numbers."""
    return isinstance(value, list) and all(is_number(one) for one in value)


def thumb(value: Any, name: str) -> bool:
    """Whether a label is a thumb up; raises `DataError` where it is not true, false, 1 or 0."""
    if value not in (0, 1) or not isinstance(value, int):
        raise DataError(f"no {name} that is true or false, or 1 or 0")
    return bool(value)


def from_json(value: Any, name: str) -> Any:
    """`value`, decoded where it is a text: some sets keep lists so."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise DataError(f"{name} is a text that is not JSON: {value[:60]!r}") from None


def with_input(asked: str, given: Any) -> str:
    """An instruction with the text that it is about below it; nothing where that is blank."""
    if given is not None and not isinstance(given, str):
        raise DataError(f"no input that is text: {str(given)[:60]!r}")
    return f"{asked}\n\n{given}" if given and given.strip() else asked
