"""Fields of a benchmark's rows, checked."""

import json
from collections.abc import Sequence
from itertools import product
from typing import cast

from rlhf.data.files.read import Row
from rlhf.errors import reject_row
from rlhf.evaluation.benchmarks.case import BenchmarkCase
from rlhf.types import Message, Prompt


def text_in(row: Row, key: str) -> str:
    """The text in a column.

    Raises:
        DataError: there is none.
    """
    value = row.get(key)
    if not isinstance(value, str):
        reject_row(f"has no text in the column {key!r}")
    return value


def texts_in(row: Row, key: str) -> list[str]:
    """The texts in a column of lists; at least one.

    Raises:
        DataError: there is no such list.
    """
    value = row.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        reject_row(f"has no list of texts in the column {key!r}")
    return value


def prompt_in(row: Row, key: str = "prompt") -> Prompt:
    """The prompt in a column: a text or a list of messages.

    Raises:
        DataError: it is neither.
    """
    value = row.get(key)
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value or not all(map(_is_message, value)):
        reject_row(f"has no prompt (a text or a list of messages) in the column {key!r}")
    return cast(list[Message], value)


def group_of(prompt: Prompt) -> str:
    """The key of a prompt, equal for equal prompts."""
    return json.dumps(prompt, ensure_ascii=False)


def pair_case(
    row: Row, prompt: Prompt, better: str, worse: str, *, subset: str, name: str, second: bool
) -> BenchmarkCase:
    """A case of two responses.

    Args:
        row: the row; its column `name`, if any, identifies the case.
        prompt: the prompt.
        better: the better response.
        worse: the worse response.
        subset: the subset.
        name: the column with the id.
        second: whether the better response is the second one of the row.
    """
    return BenchmarkCase(
        id=str(row.get(name, "")),
        prompt=prompt,
        responses=[better, worse],
        num_better=1,
        subset=subset,
        group=group_of(prompt),
        pairs=[(0, 1)],
        better_is_second=second,
    )


def lists_case(row: Row, better: Sequence[str], worse: Sequence[str], subset: str) -> BenchmarkCase:
    """A case of several better and several worse responses, all of which are compared."""
    prompt = prompt_in(row)
    last = len(better) + len(worse)
    return BenchmarkCase(
        id=str(row.get("id", "")),
        prompt=prompt,
        responses=[*better, *worse],
        num_better=len(better),
        subset=subset,
        group=group_of(prompt),
        pairs=list(product(range(len(better)), range(len(better), last))),
    )


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
    )
