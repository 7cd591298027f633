"""Rankings of one prompt in one group, so that each response is read once per step."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

MAX_RANKINGS = 16  # of one prompt that are read together; further ones count as another prompt


class Grouped(Protocol):
    """A ranking with the key of its prompt."""

    @property
    def group(self) -> str: ...


Row = TypeVar("Row", bound=Grouped)


def by_prompt(rankings: Sequence[Row]) -> list[list[Row]]:
    """The rankings of each prompt, in the order of each prompt's first ranking.

    So a response in several rankings or pairs is read once per step. A prompt with more than
    `MAX_RANKINGS` rankings is split, so that one with a thousand pairs fits into memory.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    seen: dict[str, int] = {}
    for ranking in rankings:
        number = seen.get(ranking.group, 0)
        seen[ranking.group] = number + 1
        groups.setdefault((ranking.group, number // MAX_RANKINGS), []).append(ranking)
    return list(groups.values())
