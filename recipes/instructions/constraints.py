"""Draw constraints for a request, and check which of them a response meets.

A constraint of a row is `{"kind": "words_at_least", "values": [40]}`.
"""

import random
from collections.abc import Mapping
from typing import Any

from recipes.instructions.checks import WORD
from recipes.instructions.content import CONTENT
from recipes.instructions.formats import FORMATS
from recipes.instructions.kinds import Constraint, Kind

KINDS: Mapping[str, Kind] = {**CONTENT, **FORMATS}


def draw_constraints(rng: random.Random, request: str, count: int) -> list[Constraint]:
    """`count` constraints that can be met together, in random order."""
    chosen: list[str] = []
    while len(chosen) < count:
        possible = [name for name in KINDS if not any(conflict(name, other) for other in chosen)]
        chosen.append(rng.choice(possible))
    return [{"kind": name, "values": KINDS[name].draw(rng, request)} for name in chosen]


def conflict(first: str, second: str) -> bool:
    """Whether two kinds are the same or cannot be combined."""
    return first == second or second in KINDS[first].conflicts or first in KINDS[second].conflicts


def wording(rng: random.Random, constraint: Constraint) -> str:
    """A sentence that asks for the constraint."""
    return rng.choice(KINDS[constraint["kind"]].wordings).format(*constraint["values"])


def is_met(text: str, constraint: Mapping[str, Any]) -> bool:
    """Whether the text meets the constraint; a text without words meets none."""
    if not WORD.search(text):
        return False
    return KINDS[constraint["kind"]].check(text, *constraint["values"])
