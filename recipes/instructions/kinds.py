"""Kinds of constraints and the helpers that draw their values."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

Value = str | int
Draw = Callable[[random.Random, str], list[Value]]
"""Draws the values of a constraint, given the request that it is added to."""

LAYOUTS = frozenset(
    ("paragraphs", "paragraph_start", "bullets", "sections", "json_only", "two_responses", "quoted")
)
CASES = frozenset(("lowercase", "uppercase", "capital_words_at_least", "capital_words_below"))
ENDS = frozenset(("ends_with", "postscript", "json_only", "quoted"))
LENGTHS = frozenset(("words_at_least", "words_below", "sentences_at_least", "sentences_below"))
WRAPPED = LAYOUTS | ENDS | {"repeats", "title", "placeholders", "highlights", "one_of"}


class Constraint(TypedDict):
    """One constraint of a row."""

    kind: str
    values: list[Value]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of constraint. Two that conflict are not combined; one of them names the other."""

    wordings: Sequence[str]  # sentences; {0}, {1}, … are the values
    draw: Draw
    check: Callable[..., bool]
    conflicts: frozenset[str] = frozenset()


def no_values(_: random.Random, _request: str) -> list[Value]:
    """The constraint has no values."""
    return []


def count(numbers: Sequence[int]) -> Draw:
    """One of the numbers."""
    return lambda rng, _: [rng.choice(numbers)]


def one(values: Sequence[str]) -> Draw:
    """One of the texts."""
    return lambda rng, _: [rng.choice(values)]
