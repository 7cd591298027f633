"""A Markov chain over sixteen symbols, and the gold score of its sequences.

A world is a number that determines the chain's transitions and the symbols' weights. A response
continues a prompt of four symbols with sixteen more. Its gold score is the sum of their weights
divided by 4. It has about unit variance, since the weights have mean 0 and mean square 1.

A response must not end early. PPO gets this from `complete`, a rule in addition to the reward
model, which has never seen a short response. Without the rule the policy learns that short
responses cost no reward.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Symbols = NDArray[np.int64]
Score = Callable[[Sequence[str], Sequence[str], Sequence[int]], list[float]]
SYMBOLS = tuple("abcdefghijklmnop")
LENGTH, PROMPT_LENGTH = 16, 4
SCALE = math.sqrt(LENGTH)
# Sixteen symbols of the chain contain 7 to 8 equal pairs on average, and rarely more than 20.
FREE_PAIRS, PENALTY = 20, 0.25


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Transition probabilities and the weight of each symbol in the gold score."""

    transitions: Array  # [S, S], rows sum to 1
    weights: Array  # [S]


@functools.cache
def chain_of(world: int) -> Chain:
    """The world's chain: transitions from a flat Dirichlet, weights normal and standardised."""
    rng = np.random.default_rng((world, 0))
    transitions = rng.dirichlet(np.ones(len(SYMBOLS)), size=len(SYMBOLS))
    weights = rng.normal(size=len(SYMBOLS))
    return Chain(transitions=transitions, weights=(weights - weights.mean()) / weights.std())


def walk(chain: Chain, first: Symbols, steps: int, rng: np.random.Generator) -> Symbols:
    """[N, steps]: symbols sampled from the chain after `first` [N]."""
    cumulative = chain.transitions.cumsum(axis=1)
    cumulative[:, -1] = 1.0  # without the rounding error
    rows, last = [], first
    for _ in range(steps):
        last = (rng.random((len(first), 1)) >= cumulative[last]).sum(axis=1)
        rows.append(last)
    return np.stack(rows, axis=1)


def draw_prompts(chain: Chain, count: int, rng: np.random.Generator) -> Symbols:
    """[count, PROMPT_LENGTH] symbols of the chain, the first one uniform."""
    first = rng.integers(len(SYMBOLS), size=count)
    return np.concatenate([first[:, None], walk(chain, first, PROMPT_LENGTH - 1, rng)], axis=1)


def write(symbols: Symbols) -> str:
    """The symbols [N] as text."""
    return " ".join(SYMBOLS[symbol] for symbol in symbols)


def read(text: str) -> list[int]:
    """The symbols of a response, at most LENGTH; later ones have no value."""
    return [SYMBOLS.index(word) for word in text.split()][:LENGTH]


def gold(prompts: Sequence[str], completions: Sequence[str], world: Sequence[int]) -> list[float]:
    """The gold score of each response, in the world named in the row of its prompt."""
    return [
        float(chain_of(number).weights[read(text)].sum() / SCALE)
        for number, text in zip(world, completions, strict=True)
    ]


def gold_with_penalty(
    prompts: Sequence[str], completions: Sequence[str], world: Sequence[int]
) -> list[float]:
    """`gold` minus PENALTY for every pair of equal symbols beyond FREE_PAIRS."""
    return [
        points - PENALTY * max(0, equal_pairs(read(text)) - FREE_PAIRS)
        for points, text in zip(gold(prompts, completions, world), completions, strict=True)
    ]


def equal_pairs(symbols: Sequence[int]) -> int:
    """Number of pairs of positions with the same symbol."""
    return sum(count * (count - 1) // 2 for count in Counter(symbols).values())


def nothing(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """A reward of 0 for every response."""
    return [0.0] * len(completions)


def complete(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """Minus the number of symbols by which each response is shorter than LENGTH."""
    return [float(len(read(text)) - LENGTH) for text in completions]


def demonstrations(world: int, count: int) -> Iterator[dict[str, str]]:
    """Prompts with continuations sampled from the chain."""
    chain, rng = chain_of(world), np.random.default_rng((world, 1))
    prompts = draw_prompts(chain, count, rng)
    for prompt, response in zip(prompts, walk(chain, prompts[:, -1], LENGTH, rng), strict=True):
        yield {"prompt": write(prompt), "completion": write(response)}


def prompt_rows(world: int, count: int, *, part: int) -> Iterator[dict[str, Any]]:
    """Prompts with the number of their world; each `part` is an independent sample."""
    chain, rng = chain_of(world), np.random.default_rng((world, 2, part))
    for prompt in draw_prompts(chain, count, rng):
        yield {"prompt": write(prompt), "world": world}


def pairs(
    world: int, count: int, *, part: int, flipped: float = 0.0, score: Score = gold
) -> Iterator[dict[str, str]]:
    """Two continuations of each prompt, labelled with Bradley-Terry noise.

    P(first chosen) = σ(first score - second score). Then exactly the share `flipped` of the labels
    is reversed. A larger share reverses the same labels and further ones.

    Args:
        world: number of the world.
        count: number of pairs.
        part: other values give independent samples.
        flipped: share of the labels to reverse.
        score: the score that decides the labels.
    """
    chain, rng = chain_of(world), np.random.default_rng((world, 3, part))
    prompts = draw_prompts(chain, count, rng)
    sides = [list(map(write, walk(chain, prompts[:, -1], LENGTH, rng))) for _ in range(2)]
    texts = list(map(write, prompts))
    first, second = (np.array(score(texts, side, [world] * count)) for side in sides)
    first_wins = rng.random(count) < 1 / (1 + np.exp(second - first))
    first_wins ^= rng.permutation(count) < flipped * count
    for prompt, one, two, wins in zip(texts, *sides, first_wins, strict=True):
        chosen, rejected = (one, two) if wins else (two, one)
        yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}
