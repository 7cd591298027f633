"""Checks and conversions that several converters share."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from rlhf.data.files.raw import Row
from rlhf.errors import reject_row

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
    """The rows that one row of another format becomes."""

    rows: Sequence[Row]
    left_out: Sequence[str] = ()  # a reason for each part of it that becomes no row


def rank(scores: Sequence[float]) -> list[int]:
    """Ranks from 1 for the highest score; equal scores share one and skip the next: 1, 2, 2, 4."""
    return [1 + sum(other > score for other in scores) for score in scores]


def mean_of_text(scores: Sequence[float], texts: object) -> list[float]:
    """`scores`, with those of equal texts (up to the space around them) replaced by their mean.

    Annotators may score one text twice, and differently. The check of the row rejects `texts` that
    is not a list of as many texts as there are scores.
    """
    if not isinstance(texts, list | tuple) or len(texts) != len(scores):
        return list(scores)
    keys = [text.strip() if isinstance(text, str) else repr(text) for text in texts]
    of_text: dict[str, list[float]] = {}
    for key, score in zip(keys, scores, strict=True):
        of_text.setdefault(key, []).append(score)
    return [statistics.mean(of_text[key]) for key in keys]


def preference(prompt: object, first: str, second: str, score: float) -> Row:
    """A ranking of two by a signed score: below 0 the first is better, 0 is a tie.

    The strength is the distance from 0, where there is an order.
    """
    ranks = [1, 2] if score < 0 else [2, 1] if score > 0 else [1, 1]
    if first.strip() == second.strip():
        ranks = [1, 1]
    strength = {"strength": abs(score)} if ranks != [1, 1] else {}
    return {"prompt": prompt, "responses": [first, second], "ranks": ranks, **strength}


def texts(row: Row, *keys: str) -> tuple[str, ...]:
    """The row's texts of `keys`.

    Raises:
        DataError: one of them is missing or not a text.
    """
    values = []
    for key in keys:
        value = row.get(key)
        if not isinstance(value, str):
            reject_row(f"{key} is missing or not text")
        values.append(value)
    return tuple(values)


def number(row: Row, key: str, low: float, high: float) -> float:
    """The row's number of `key`.

    Raises:
        DataError: it is missing, not a number or not in [low, high].
    """
    value = row.get(key)
    if not is_number(value) or not low <= value <= high:
        reject_row(f"{key} is not a number from {low:g} to {high:g}: {str(value)[:40]!r}")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether the value is a finite number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def are_numbers(value: object) -> bool:
    """Whether the value is a list of numbers."""
    return isinstance(value, list) and all(is_number(item) for item in value)


def thumb(value: object, name: str) -> bool:
    """Whether a label is a thumb up.

    Raises:
        DataError: it is not true, false, 1 or 0.
    """
    if value not in (0, 1) or not isinstance(value, int):
        reject_row(f"{name} is neither true or false, nor 1 or 0")
    return bool(value)


def from_json(value: object, name: str) -> object:
    """`value`, decoded where it is a text: some datasets store lists as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        reject_row(f"{name} is a text that is not JSON: {value[:60]!r}")


def with_input(instruction: str, text: object) -> str:
    """An instruction with the text that it is about below it; alone where that is blank."""
    if text is not None and not isinstance(text, str):
        reject_row(f"input is not text: {str(text)[:60]!r}")
    return f"{instruction}\n\n{text}" if text and text.strip() else instruction
