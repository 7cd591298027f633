"""Train and held-out rows that share no prompt."""

import json
from collections.abc import Sequence
from typing import TypeVar

from rlhf.manifest import hash_text
from rlhf.types import Demonstration, Prompt, Ranking, RatedResponse, SFTRow, Thumb

PUNCTUATION = frozenset(".,;:!?\"'`“”‘’„…")
T = TypeVar("T", Demonstration, Ranking)
Item = TypeVar("Item")


def prompt_key(prompt: Prompt) -> str:
    """The prompt without case, spacing and sentence punctuation; equal keys mean one prompt."""
    if isinstance(prompt, str):
        return json.dumps([["user", _normalized(prompt)]])
    return json.dumps([[turn["role"], _normalized(turn["content"])] for turn in prompt])


def group_key(row: SFTRow | Ranking | RatedResponse | Thumb) -> str:
    """The key of rows that stay on one side of a split: the prompt, or else the responses.

    Responses without a prompt (sentences with a sentiment) all have the empty one. A plain text
    has its own words as key.
    """
    if isinstance(row, str):
        return json.dumps([["text", _normalized(row)]])
    if row.prompt:
        return prompt_key(row.prompt)
    responses = row.responses if isinstance(row, Ranking) else [row.completion]
    return json.dumps(sorted(responses))


def split_by_prompt(rows: Sequence[T], fraction: float, seed: int) -> tuple[list[T], list[T]]:
    """Rows to train on and held-out rows; all rows of one `group_key` stay together.

    `fraction` is the share of prompts to hold out, rounded; above 0 at least one is held out and
    one is trained on. The choice depends on the seed and the prompts' words, not on row order.
    """
    return split_by_key(rows, [group_key(row) for row in rows], fraction, seed)


def split_by_key(
    rows: Sequence[Item], keys: Sequence[str], fraction: float, seed: int
) -> tuple[list[Item], list[Item]]:
    """Rows to train on and held-out rows, as `split_by_prompt` does it, by the key of each row."""
    ordered = sorted(set(keys), key=lambda key: hash_text(f"{seed} {key}"))
    count = round(fraction * len(ordered))
    if fraction > 0:
        count = min(max(count, 1), len(ordered) - 1)
    held_out = set(ordered[:count])
    train = [row for row, key in zip(rows, keys, strict=True) if key not in held_out]
    return train, [row for row, key in zip(rows, keys, strict=True) if key in held_out]


def _normalized(text: str) -> str:
    # Signs of arithmetic stay: 2 + 2 and 2 - 2 are two prompts.
    words = "".join(" " if char in PUNCTUATION else char for char in text.casefold())
    return " ".join(words.split()) or text
