"""A generated request: a prompt with a right and a wrong response."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Item:
    """One request with a right and a wrong response, both complete and neutral in tone."""

    category: str
    prompt: str
    right: str
    wrong: str
    short: str  # the shortest right response, or the same as `right`
    fault: str  # the remark of a reader on `wrong`
    combination: str  # words that together are either in training data or held out
    held_out: bool
    pairs: tuple[str, ...] = ()  # the combination in each statement of its scene


def pick(rng: Random, words: list[str], *, but: tuple[str, ...] = ()) -> str:
    """A random word that is not in `but`."""
    while (word := rng.choice(words)) in but:
        pass
    return word
