"""Train and held-out rows that share no prompt."""

import json
from collections.abc import Sequence
from typing import Protocol, TypeVar

from rlhf.manifest import hash_text
from rlhf.types import Prompt

PUNCTUATION = frozenset(".,;:!?\"'`“”‘’„…")


class HasPrompt(Protocol):
    """A typed row that answers a prompt."""

    @property
    def prompt(self) -> Prompt: ...


T = TypeVar("T", bound=HasPrompt)


def prompt_key(prompt: Prompt) -> str:
    """The prompt without case, spacing and sentence punctuation; equal keys are one prompt."""
    if isinstance(prompt, str):
        return json.dumps([["user", _words(prompt)]])
    return json.dumps([[turn["role"], _words(turn["content"])] for turn in prompt])


def split_by_prompt(rows: Sequence[T], fraction: float, seed: int) -> tuple[list[T], list[T]]:
    """Rows to train on and rows held out; all rows of a prompt stay together.

    `fraction` counts prompts, rounded; above 0 at least one is held out and one is kept.
    Which prompts depends on the seed and their words alone, not on the order of the rows.
    """
    keys = [prompt_key(row.prompt) for row in rows]
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
