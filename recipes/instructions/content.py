"""Kinds of constraints on what a response contains: length, words, letters, capital letters."""

import random
from collections.abc import Mapping, Sequence

from recipes.instructions import checks
from recipes.instructions.kinds import CASES, LENGTHS, Draw, Kind, Value, count, no_values

COUNTS_OF_WORDS = range(30, 101, 10)
WORDS = (
    "river", "lantern", "window", "honest", "market", "silver", "garden", "quiet", "journey",
    "bridge", "winter", "colour", "simple", "future", "teacher", "kitchen", "mountain", "careful",
    "morning", "engine", "island", "patient", "letter", "useful", "strong", "balance", "history",
    "energy", "friend",
)  # fmt: skip
COMMON_WORDS = ("the", "and", "very", "good", "is", "can", "but")
OPTIONS = (
    ("I agree.", "I disagree.", "I am not sure."),
    ("It is worth it.", "It is not worth it.", "It depends."),
)
COMMON_LETTERS, RARE_LETTERS = "aeinorst", "bcdfgklmpvw"


def letter(letters: str, counts: Sequence[int]) -> Draw:
    """One of the letters, and one of the numbers."""
    return lambda rng, _: [rng.choice(letters), rng.choice(counts)]


def word_and_count(rng: random.Random, _: str) -> list[Value]:
    """A word, and how often it has to occur."""
    return [rng.choice(WORDS), rng.randint(2, 4)]


CONTENT: Mapping[str, Kind] = {
    "words_at_least": Kind(
        wordings=(
            "Use at least {0} words.",
            "Your response should have {0} words or more.",
            "Write no fewer than {0} words.",
        ),
        draw=count(COUNTS_OF_WORDS),
        check=checks.words_at_least,
        conflicts=LENGTHS,
    ),
    "words_below": Kind(
        wordings=(
            "Use fewer than {0} words.",
            "Stay below {0} words.",
            "The whole response has to be shorter than {0} words.",
        ),
        draw=count(COUNTS_OF_WORDS),
        check=checks.words_below,
        conflicts=LENGTHS | {"repeats"},
    ),
    "sentences_at_least": Kind(
        wordings=("Write at least {0} sentences.", "Your response needs {0} sentences or more."),
        draw=count(range(3, 9)),
        check=checks.sentences_at_least,
        conflicts=LENGTHS | {"json_only"},
    ),
    "sentences_below": Kind(
        wordings=("Write fewer than {0} sentences.", "Use less than {0} sentences in total."),
        draw=count(range(3, 9)),
        check=checks.sentences_below,
        conflicts=LENGTHS | {"json_only", "repeats", "bullets"},
    ),
    "includes": Kind(
        wordings=(
            "Include the words {0} and {1}.",
            "The words {0} and {1} have to occur in the response.",
            "Make use of the keywords {0} and {1}.",
        ),
        draw=lambda rng, _: list(rng.sample(WORDS, 2)),
        check=checks.includes,
    ),
    "excludes": Kind(
        wordings=(
            "Do not use the words {0} and {1}.",
            "Avoid the words {0} and {1}.",
            "Neither {0} nor {1} may occur as a word.",
        ),
        draw=lambda rng, _: list(rng.sample(COMMON_WORDS, 2)),
        check=checks.excludes,
        conflicts=frozenset(("repeats", "ends_with", "one_of")),
    ),
    "word_at_least": Kind(
        wordings=(
            "Use the word {0} at least {1} times.",
            "The word {0} should occur {1} or more times.",
        ),
        draw=word_and_count,
        check=checks.word_at_least,
    ),
    "letter_at_least": Kind(
        wordings=(
            "The letter {0} has to occur at least {1} times.",
            "Use the letter {0} at least {1} times in your response.",
        ),
        draw=letter(RARE_LETTERS, range(3, 9)),
        check=checks.letter_at_least,
    ),
    "letter_below": Kind(
        wordings=("The letter {0} may occur fewer than {1} times.",),
        draw=letter(COMMON_LETTERS, range(5, 15)),
        check=checks.letter_below,
        conflicts=frozenset(("words_at_least", "sentences_at_least", "repeats")),
    ),
    "no_commas": Kind(
        wordings=(
            "Do not use any commas.",
            "Your whole response has to do without commas.",
            "Write it without a single comma.",
        ),
        draw=no_values,
        check=checks.no_commas,
        conflicts=frozenset(("json_only", "repeats")),
    ),
    "lowercase": Kind(
        wordings=(
            "Write everything in lowercase letters.",
            "Use small letters only and no capital letters.",
        ),
        draw=no_values,
        check=checks.lowercase,
        conflicts=CASES | {"repeats", "sections"},
    ),
    "uppercase": Kind(
        wordings=(
            "Write everything in capital letters.",
            "Your entire response should be in uppercase.",
        ),
        draw=no_values,
        check=checks.uppercase,
        conflicts=CASES | {"repeats", "sections"},
    ),
    "capital_words_at_least": Kind(
        wordings=(
            "Write at least {0} words in capital letters, like THIS.",
            "Stress {0} or more words by writing them in all capitals.",
        ),
        draw=count(range(2, 7)),
        check=checks.capital_words_at_least,
        conflicts=CASES,
    ),
    "capital_words_below": Kind(
        wordings=("Fewer than {0} words may be in all capital letters.",),
        draw=count(range(2, 5)),
        check=checks.capital_words_below,
        conflicts=CASES,
    ),
    "one_of": Kind(
        wordings=("Your response must contain one of these sentences: {0} {1} {2}",),
        draw=lambda rng, _: list(rng.choice(OPTIONS)),
        check=checks.one_of,
        conflicts=frozenset(("json_only", "quoted", "no_commas")),
    ),
    "repeats": Kind(
        wordings=(
            'First repeat this request without any change: "{0}" Then answer it.',
            'Your response must begin with the exact words "{0}" and answer them after that.',
        ),
        draw=lambda _, request: [request],
        check=checks.repeats,
        conflicts=CASES | {"json_only", "quoted"},
    ),
}
