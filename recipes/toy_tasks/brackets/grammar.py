"""Brackets: a prompt opens some, and the response has to close them.

A prompt is a prefix such as `( ( ) (` with `depth` open brackets at its end. A response is right if
prompt and response together are balanced. Training prompts and right demonstrations are at most 6
deep anywhere, and the prompts end at most 5 deep. A wrong demonstration can reach depth 8. Prompts
of kind `deeper` end 7 to 9 deep and are at most as long as the longest of the others.
"""

import random
from collections.abc import Iterator, Sequence

OPEN, CLOSE = "(", ")"
SYMBOLS = (OPEN, CLOSE)
SEEN, DEEPER = "seen", "deeper"
DEPTHS = {SEEN: range(1, 6), DEEPER: range(7, 10)}
DEEPEST, MOST_PAIRS = 6, 6  # depth of prompts and right responses; closed pairs within a prompt
CORRUPTED, HELD_OUT = 0.5, 0.2  # shares of the demonstrations and of all possible prompts


def depths(symbols: Sequence[str]) -> list[int]:
    """Number of open brackets after each symbol; negative if too many were closed."""
    path = [0]
    for symbol in symbols:
        path.append(path[-1] + (1 if symbol == OPEN else -1))
    return path[1:]


def errors(text: str) -> int:
    """Number of brackets without a partner."""
    unmatched, open_brackets = 0, 0
    for symbol in text.split():
        if symbol == OPEN:
            open_brackets += 1
        elif open_brackets:
            open_brackets -= 1
        else:
            unmatched += 1
    return unmatched + open_brackets


def prefix(rng: random.Random, depth: int, pairs: int) -> list[str]:
    """A random prefix with `depth` open brackets at its end and `pairs` closed pairs within it.

    Uniform among all such prefixes that are never deeper than their end or DEEPEST.
    """
    symbols = [OPEN] * (depth + pairs) + [CLOSE] * pairs
    while True:
        rng.shuffle(symbols)
        path = depths(symbols)
        if min(path, default=0) >= 0 and max(path, default=0) <= max(depth, DEEPEST):
            return symbols


def suffix(rng: random.Random, depth: int, pairs: int) -> list[str]:
    """A suffix that closes `depth` brackets, with `pairs` further pairs: a mirrored prefix."""
    mirrored = reversed(prefix(rng, depth, pairs))
    return [CLOSE if symbol == OPEN else OPEN for symbol in mirrored]


def corrupted(rng: random.Random, symbols: list[str]) -> list[str]:
    """The symbols with one bracket removed, inserted or reversed, so never balanced."""
    changed, position = list(symbols), rng.randrange(len(symbols))
    kind = rng.choice(["out", "in", "round"])
    if kind == "out" and len(symbols) > 1:
        del changed[position]
    elif kind == "in":
        changed.insert(position, rng.choice(SYMBOLS))
    else:
        changed[position] = CLOSE if symbols[position] == OPEN else OPEN
    return changed


def prompts(seed: int, name: str, kind: str, count: int, *, held_out: bool) -> list[str]:
    """Distinct prompts of kind `seen` or `deeper`; a fifth of all possible prompts is held out."""
    rng, distinct = random.Random(f"{name} {seed}"), dict[str, None]()
    longest = max(DEPTHS[SEEN]) + 2 * MOST_PAIRS
    while len(distinct) < count:
        depth = rng.choice(DEPTHS[kind])
        pairs = rng.randint(0, min(MOST_PAIRS, (longest - depth) // 2))
        prompt = " ".join(prefix(rng, depth, pairs))
        if (random.Random(f"{seed} {prompt}").random() < HELD_OUT) == held_out:
            distinct[prompt] = None
    return list(distinct)


def demonstrations(seed: int, prompts: Sequence[str], each: int) -> Iterator[dict[str, str]]:
    """`each` responses to every prompt; the share CORRUPTED of them is wrong."""
    rng = random.Random(f"demonstrations {seed}")
    for prompt in prompts:
        for index in range(each):
            response = suffix(rng, depths(prompt.split())[-1], rng.randint(0, 4))
            if index < CORRUPTED * each:
                response = corrupted(rng, response)
            yield {"prompt": prompt, "completion": " ".join(response)}


def axes(prompt: str, completion: str) -> dict[str, float]:
    """Whether prompt and response together are balanced."""
    return {"balanced": float(errors(f"{prompt} {completion}") == 0)}


def score(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """The gold score: 2 points if balanced, else minus half a point per error, at least -2."""
    wrong = [errors(f"{p} {c}") for p, c in zip(prompts, completions, strict=True)]
    return [2.0 if count == 0 else -min(4, count) / 2 for count in wrong]


def rows(
    seed: int, name: str, kind: str, count: int, *, held_out: bool
) -> Iterator[dict[str, str]]:
    """`prompts` with their kind as category, for metrics by category."""
    for prompt in prompts(seed, name, kind, count, held_out=held_out):
        yield {"prompt": prompt, "category": kind}
