"""Train and held-out rows that share no prompt."""

import json
from collections.abc import Sequence
from typing import TypeVar

from rlhf.manifest import hash_text
from rlhf.types import Demonstration, Prompt, Ranking

PUNCTUATION = frozenset(".,;:!?\"'`“”‘’„…")
T = TypeVar("T", Demonstration, Ranking)
Item = TypeVar("Item")


def prompt_key(prompt: Prompt) -> str:
    """The prompt without case, spacing and sentence punctuation; equal keys are one prompt."""
    if isinstance(prompt, str):
        return json.dumps([["user", _words(prompt)]])
    return json.dumps([[turn["role"], _words(turn["content"])] for turn in prompt])


def group_key(row: Demonstration | Ranking) -> str:
    """What stays on one side of a split: the prompt; the answers where the prompt is empty.

    Texts that answer nothing (sentences with a sentiment) all have the empty prompt.
    """
    if row.prompt:
        return prompt_key(row.prompt)
    answers = row.responses if isinstance(row, Ranking) else [row.completion]
    return json.dumps(sorted(answers))


def split_by_prompt(rows: Sequence[T], fraction: float, seed: int) -> tuple[list[T], list[T]]:
    """Rows to train on and rows held out; all rows of one `group_key` stay together.

    `fraction` counts prompts, rounded; above 0 at least one is held out and one is kept.
    Which prompts depends on the seed and their words alone, not on the order of the rows.
    """
    return split_by_key(rows, [group_key(row) for row in rows], fraction, seed)


def split_by_key(
    rows: Sequence[Item], keys: Sequence[str], fraction: float, seed: int
) -> tuple[list[Item], list[Item]]:
    """`split_by_prompt` of rows of any kind, with the key of each."""
    ordered = sorted(set(keys), key=lambda key: hash_text(f"{seed} {key}"))
    count = round(fraction * len(ordered))
    if fraction > 0:
        count = min(max(count, 1), len(ordered) - 1)
    held = set(ordered[:count])
    train = [row for row, key in zip(rows, keys, strict=True) if key not in held]
    return train, [row for row, key in zip(rows, keys, strict=True) if key in held]


def _words(text: str) -> str:
    # Signs of arithmetic stay: 2 + 2 and 2 - 2 are two prompts.
    kept = "".join(" " if char in PUNCTUATION else char for char in text.casefold())
    return " ".join(kept.split()) or text
