"""How close a text is to meeting a constraint, 0 to 1: a reward where no response meets it yet.

A model that never writes in lowercase gets the same reward for every response, and learns nothing
from it. The share of its words without a capital differs from response to response.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from recipes.instructions import checks
from recipes.instructions.checks import WORD
from recipes.instructions.constraints import is_met


def closeness(text: str, constraint: Mapping[str, Any]) -> float:
    """1 if the text meets the constraint, else less; 0 for a text without words."""
    if is_met(text, constraint):
        return 1.0
    near = NEAR.get(constraint["kind"])
    if near is None or not WORD.search(text):
        return 0.0
    return min(near(text, *constraint["values"]), 0.99)


def share_of_words(is_right: Callable[[str], bool]) -> Callable[[str], float]:
    """The share of the words for which `is_right` holds."""

    def share(text: str) -> float:
        words = WORD.findall(text)
        return sum(map(is_right, words)) / len(words)

    return share


def at_least(occurrences: int, count: int) -> float:
    """The share of the wanted occurrences that there are."""
    return min(1.0, occurrences / count)


def below(occurrences: int, limit: int) -> float:
    """1 just below the limit, falling with every occurrence above."""
    return min(1.0, limit / (occurrences + 1))


def exactly(occurrences: int, count: int) -> float:
    """1/2 for one more or less, 1/3 for two; 0 if there is none."""
    return 1 / (1 + abs(occurrences - count)) if occurrences else 0.0


def marks(text: str, *wanted: str) -> float:
    """The share of the marks that occur."""
    return sum(mark.lower() in text.lower() for mark in wanted) / len(wanted)


def ends(text: str, start: str, end: str) -> float:
    """1/2 for a text that starts with one of the characters, 1/2 for one that ends with one."""
    text = text.strip()
    return text.startswith(tuple(start)) / 2 + text.endswith(tuple(end)) / 2


def included(text: str, *words: str) -> float:
    """The share of the words that occur."""
    return sum(checks.occurrences(text, word) > 0 for word in words) / len(words)


def excluded(text: str, *words: str) -> float:
    """1/2 with one occurrence, 1/3 with two."""
    return 1 / (1 + sum(checks.occurrences(text, word) for word in words))


def repeated(text: str, request: str) -> float:
    """The share of the request's words with which the text starts."""
    asked, words = WORD.findall(request.lower()), WORD.findall(text.lower())
    same = [a == b for a, b in zip(asked, words, strict=False)]
    return [*same, False].index(False) / len(asked)


def last_words(text: str, phrase: str) -> float:
    """The share of the phrase's words that the text's last words have at their places."""
    asked = WORD.findall(phrase.lower())
    words = WORD.findall(text.lower())[-len(asked) :]
    same: int = sum(a == b for a, b in zip(asked[::-1], words[::-1], strict=False))
    return same / len(asked)


def paragraph_started(text: str, count: int, number: int, word: str) -> float:
    """1/2 at most for the number of paragraphs, 1/2 for the first word of the right one."""
    parts = [part for part in re.split(r"\n\s*\n", text.strip()) if WORD.search(part)]
    found = number <= len(parts) and WORD.findall(parts[number - 1].lower())[0] == word.lower()
    return exactly(len(parts), count) / 2 + found / 2


NEAR: Mapping[str, Callable[..., float]] = {
    "words_at_least": lambda text, count: at_least(len(WORD.findall(text)), count),
    "words_below": lambda text, limit: below(len(WORD.findall(text)), limit),
    "sentences_at_least": lambda text, count: at_least(checks.sentences(text), count),
    "sentences_below": lambda text, limit: below(checks.sentences(text), limit),
    "paragraphs": lambda text, count: exactly(text.count("***"), count - 1),
    "paragraph_start": paragraph_started,
    "includes": included,
    "excludes": excluded,
    "word_at_least": lambda text, word, count: at_least(checks.occurrences(text, word), count),
    "letter_at_least": lambda text, letter, count: at_least(text.lower().count(letter), count),
    "letter_below": lambda text, letter, limit: below(text.lower().count(letter), limit),
    "no_commas": lambda text: 1 / (1 + text.count(",")),
    "lowercase": share_of_words(lambda word: word == word.lower()),
    "uppercase": share_of_words(lambda word: word == word.upper()),
    "capital_words_at_least": lambda text, count: at_least(checks.capital_words(text), count),
    "capital_words_below": lambda text, limit: below(checks.capital_words(text), limit),
    "bullets": lambda text, count: exactly(len(checks.BULLET.findall(text)), count),
    "highlights": lambda text, count: at_least(len(checks.HIGHLIGHT.findall(text)), count),
    "placeholders": lambda text, count: at_least(len(checks.PLACEHOLDER.findall(text)), count),
    "title": lambda text: marks(text, "<<", ">>"),
    "sections": lambda text, word, count: marks(text, *(f"{word} {n + 1}" for n in range(count))),
    "json_only": lambda text: ends(checks.FENCE.sub("", text.strip()), "{[", "}]"),
    "quoted": lambda text: ends(text, '"', '"'),
    "ends_with": last_words,
    "postscript": marks,
    "two_responses": lambda text: marks(text, "***", "******"),
    "repeats": repeated,
}
"""By kind; `one_of` has none, since its options have most words in common."""
