"""Brackets: a prompt opens some, an answer has to close them.

A prompt is a beginning such as `( ( ) (`, at whose end `depth` brackets are open. An answer is
right where both together are balanced. Prompts to learn from and demonstrations that are right are
at most 6 deep, anywhere, and end at most 5 deep; a wrong demonstration may reach 8. `deeper`
prompts end 7 to 9 deep and are at most as long as the longest of the others.
"""

import random
from collections.abc import Iterator, Sequence

OPEN, CLOSE = "(", ")"
SYMBOLS = (OPEN, CLOSE)
SEEN, DEEPER = "seen", "deeper"
DEPTHS = {SEEN: range(1, 6), DEEPER: range(7, 10)}
DEEPEST, MOST_PAIRS = 6, 6  # of prompts and right answers; pairs closed within a prompt
CORRUPTED, HELD_OUT = 0.5, 0.2  # shares: of the demonstrations, of all prompts there are


def depths(symbols: Sequence[str]) -> list[int]:
    """How many brackets are open after each symbol; negative where one too many was closed."""
    found = [0]
    for symbol in symbols:
        found.append(found[-1] + (1 if symbol == OPEN else -1))
    return found[1:]


def errors(text: str) -> int:
    """Brackets without a partner."""
    alone, open_ones = 0, 0
    for symbol in text.split():
        if symbol == OPEN:
            open_ones += 1
        elif open_ones:
            open_ones -= 1
        else:
            alone += 1
    return alone + open_ones


def beginning(draw: random.Random, depth: int, pairs: int) -> list[str]:
    """A beginning with so many brackets open at its end, and so many pairs closed within it.

    Uniform among all of these that are never deeper than the end or DEEPEST.
    """
    symbols = [OPEN] * (depth + pairs) + [CLOSE] * pairs
    while True:
        draw.shuffle(symbols)
        found = depths(symbols)
        if min(found, default=0) >= 0 and max(found, default=0) <= max(depth, DEEPEST):
            return symbols


def ending(draw: random.Random, depth: int, pairs: int) -> list[str]:
    """What closes so many brackets and opens and closes so many more: a beginning, mirrored."""
    mirrored = reversed(beginning(draw, depth, pairs))
    return [CLOSE if symbol == OPEN else OPEN for symbol in mirrored]


def corrupted(draw: random.Random, symbols: list[str]) -> list[str]:
    """One bracket left out, put in or turned round: never balanced again."""
    changed, place = list(symbols), draw.randrange(len(symbols))
    kind = draw.choice(["out", "in", "round"])
    if kind == "out" and len(symbols) > 1:
        del changed[place]
    elif kind == "in":
        changed.insert(place, draw.choice(SYMBOLS))
    else:
        changed[place] = CLOSE if symbols[place] == OPEN else OPEN
    return changed


def prompts(seed: int, name: str, kind: str, count: int, *, held_out: bool) -> list[str]:
    """Different prompts that are `seen` or `deeper`; a fifth of all that there are is held out."""
    draw, found = random.Random(f"{name} {seed}"), dict[str, None]()
    longest = max(DEPTHS[SEEN]) + 2 * MOST_PAIRS
    while len(found) < count:
        depth = draw.choice(DEPTHS[kind])
        pairs = draw.randint(0, min(MOST_PAIRS, (longest - depth) // 2))
        prompt = " ".join(beginning(draw, depth, pairs))
        if (random.Random(f"{seed} {prompt}").random() < HELD_OUT) == held_out:
            found[prompt] = None
    return list(found)


def demonstrations(seed: int, chosen: Sequence[str], each: int) -> Iterator[dict[str, str]]:
    """So many answers to each prompt, of which the share CORRUPTED is wrong."""
    draw = random.Random(f"demonstrations {seed}")
    for prompt in chosen:
        for index in range(each):
            answer = ending(draw, depths(prompt.split())[-1], draw.randint(0, 4))
            if index < CORRUPTED * each:
                answer = corrupted(draw, answer)
            yield {"prompt": prompt, "completion": " ".join(answer)}


def axes(prompt: str, completion: str) -> dict[str, float]:
    """Whether prompt and answer are balanced."""
    return {"balanced": float(errors(f"{prompt} {completion}") == 0)}


def score(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """What annotators see: 2 points where it is balanced, else half a point off an error, to -2."""
    wrong = [errors(f"{p} {c}") for p, c in zip(prompts, completions, strict=True)]
    return [2.0 if count == 0 else -min(4, count) / 2 for count in wrong]


def rows(
    seed: int, name: str, kind: str, count: int, *, held_out: bool
) -> Iterator[dict[str, str]]:
    """`prompts` with their kind, for the figures by category."""
    for prompt in prompts(seed, name, kind, count, held_out=held_out):
        yield {"prompt": prompt, "category": kind}
