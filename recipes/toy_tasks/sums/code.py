"""Sums of a hidden code: ten letters stand for the ten digits, and a word of six is added up.

    a b c d e f  ->  7                at a glance
    a b c d e f  ->  3 5 9 4 6 7      step by step: every sum on the way, mod 10

A world is a number: it decides which letter is which digit. The answer is the last digit written.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

LETTERS, DIGITS = tuple("abcdefghij"), tuple("0123456789")
SYMBOLS = (*LETTERS, *DIGITS)
LENGTH = 6


def code_of(world: int) -> dict[str, int]:
    """The digit of each letter."""
    return dict(zip(LETTERS, random.Random(f"code {world}").sample(range(10), 10), strict=True))


def running_sums(word: str, world: int) -> list[int]:
    """The sum of the first letter, of the first two, … mod 10."""
    code, sums = code_of(world), [0]
    for letter in word.split():
        sums.append((sums[-1] + code[letter]) % 10)
    return sums[1:]


def at_a_glance(word: str, world: int) -> str:
    """The sum alone."""
    return str(running_sums(word, world)[-1])


def step_by_step(word: str, world: int) -> str:
    """Every sum on the way to it."""
    return " ".join(map(str, running_sums(word, world)))


def right(prompts: Sequence[str], completions: Sequence[str], world: Sequence[int]) -> list[float]:
    """1.0 where the last digit written is the sum, 0.0 elsewhere; how one got there is free."""
    return [
        float(text.split()[-1:] == [at_a_glance(word, number)])
        for word, text, number in zip(prompts, completions, world, strict=True)
    ]


def axes(prompt: str, completion: str) -> dict[str, float]:
    """Whether the answer takes as many steps as there are letters, or none."""
    digits = len(completion.split())
    return {"takes the steps": float(digits == LENGTH), "answers at once": float(digits == 1)}


def words(world: int, count: int, *, start: int = 0) -> list[str]:
    """Different words of six letters; with another `start` others."""
    numbers = random.Random(f"words {world}").sample(range(10**LENGTH), start + count)[start:]
    return [" ".join(LETTERS[int(digit)] for digit in f"{number:06d}") for number in numbers]


def demonstrations(
    world: int, count: int, *, glance: bool = False, steps: bool = False
) -> Iterator[dict[str, str]]:
    """Words with their sums: at a glance, step by step, or (both) now the one, now the other."""
    ways = [way for way, taken in ((at_a_glance, glance), (step_by_step, steps)) if taken]
    draw = random.Random(f"ways {world}")
    for word in words(world, count):
        yield {"prompt": word, "completion": draw.choice(ways)(word, world)}


def prompt_rows(world: int, count: int, *, start: int) -> Iterator[dict[str, Any]]:
    """Words that name their world."""
    for word in words(world, count, start=start):
        yield {"prompt": word, "world": world}
