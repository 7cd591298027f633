"""What a generator of requests makes: a prompt, and answers that are known to be right or wrong."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Item:
    """One request with a right and a wrong answer, both plain in tone, and whole."""

    category: str
    prompt: str
    right: str
    wrong: str
    short: str  # a right answer cut to the bone, or the same as `right`
    fault: str  # what a reader would say of `wrong`
    combination: str  # the words whose pairing is either trained on or held out
    held_out: bool
    pairs: tuple[str, ...] = ()  # the pairing in each statement of its scene


def pick(rng: Random, words: list[str], *, but: tuple[str, ...] = ()) -> str:
    """One of the words, none of those in `but`."""
    while (word := rng.choice(words)) in but:
        pass
    return word
