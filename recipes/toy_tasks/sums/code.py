"""Sums in a hidden code: ten letters encode the ten digits, and the six of a word are added up.

    a b c d e f  ->  7                at a glance
    a b c d e f  ->  3 5 9 4 6 7      step by step: all running sums, mod 10

A world is a number that determines the digit of each letter. The last digit of a response counts.
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
    """Sums mod 10 of the first letter, the first two letters, and so on."""
    code, sums = code_of(world), [0]
    for letter in word.split():
        sums.append((sums[-1] + code[letter]) % 10)
    return sums[1:]


def at_a_glance(word: str, world: int) -> str:
    """The sum alone."""
    return str(running_sums(word, world)[-1])


def step_by_step(word: str, world: int) -> str:
    """All running sums, up to the total."""
    return " ".join(map(str, running_sums(word, world)))


def right(prompts: Sequence[str], completions: Sequence[str], world: Sequence[int]) -> list[float]:
    """1.0 if the last digit is the sum, else 0.0; any steps before it are allowed."""
    return [
        float(text.split()[-1:] == [at_a_glance(word, number)])
        for word, text, number in zip(prompts, completions, world, strict=True)
    ]


def axes(prompt: str, completion: str) -> dict[str, float]:
    """Whether the response has one step per letter, or only the sum."""
    digits = len(completion.split())
    return {"takes the steps": float(digits == LENGTH), "answers at once": float(digits == 1)}


def words(world: int, count: int, *, start: int = 0) -> list[str]:
    """`count` distinct words of six letters, from number `start` of a fixed random order."""
    numbers = random.Random(f"words {world}").sample(range(10**LENGTH), start + count)[start:]
    return [" ".join(LETTERS[int(digit)] for digit in f"{number:06d}") for number in numbers]


def demonstrations(
    world: int, count: int, *, glance: bool = False, steps: bool = False
) -> Iterator[dict[str, str]]:
    """Words with their sums: the sum alone, all steps, or with both set a random one of the two."""
    ways = [way for way, wanted in ((at_a_glance, glance), (step_by_step, steps)) if wanted]
    rng = random.Random(f"ways {world}")
    for word in words(world, count):
        yield {"prompt": word, "completion": rng.choice(ways)(word, world)}


def prompt_rows(world: int, count: int, *, start: int) -> Iterator[dict[str, Any]]:
    """Words with the number of their world."""
    for word in words(world, count, start=start):
        yield {"prompt": word, "world": world}
