"""Worlds whose gold score is drawn at random from a family, and labels by it.

A prompt is two symbols of a Markov chain, and a response continues it with three to eight more. The
gold score is a weighted sum of features of both, of five parts:

    counts     how often each symbol occurs
    order      how often each symbol follows each other one
    together   which two symbols occur in the same response
    prompt     how often each symbol occurs after each first symbol of the prompt
    length     length and squared length

A world draws the weights from a normal distribution and the share of each part in the variance from
a flat Dirichlet distribution. The gold score has a variance of 1 among the responses to a prompt.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.toy_tasks.markov.chain import Chain, walk

Array = NDArray[np.float64]
Symbols = NDArray[np.int64]
SYMBOLS, PROMPT_LENGTH = 8, 2
SHORTEST, LONGEST = 3, 8
END = SYMBOLS  # fills a response after its last symbol
PAIRS = np.triu_indices(SYMBOLS, k=1)
SIZES = {
    "counts": SYMBOLS,
    "order": SYMBOLS**2,
    "together": len(PAIRS[0]),
    "prompt": SYMBOLS**2,
    "length": 2,
}
PART_OF = np.repeat(np.arange(len(SIZES)), list(SIZES.values()))  # [F], the part of each feature


@dataclass(frozen=True, kw_only=True)
class World:
    """A chain and a gold score."""

    number: int
    transitions: Array  # [S, S], rows sum to 1
    shares: Array  # [5], of the parts in the variance of the gold score
    weights: Array  # [F], of the features in the gold score
    prior: Array  # [F], the standard deviation from which each weight was drawn


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Rankings of K responses to each prompt; a pair is a ranking of two."""

    prompts: Symbols  # [N, PROMPT_LENGTH]
    responses: Symbols  # [N, K, LONGEST], the best first

    def __getitem__(self, rows: slice) -> "Labels":
        """The labels of these rows."""
        return Labels(prompts=self.prompts[rows], responses=self.responses[rows])

    def __len__(self) -> int:
        return len(self.prompts)


@functools.cache
def world_of(number: int) -> World:
    """The world of this number."""
    rng = np.random.default_rng((number, 10))
    transitions = rng.dirichlet(np.ones(SYMBOLS), size=SYMBOLS)
    shares = rng.dirichlet(np.ones(len(SIZES)))
    weights = rng.normal(size=len(PART_OF))
    prompts = draw_prompts(transitions, 64, rng)
    rows = np.repeat(prompts, 64, axis=0)
    x = features(rows, draw_responses(transitions, rows, rng)).reshape(64, 64, -1)
    x = x - x.mean(axis=1, keepdims=True)  # only responses to one prompt are compared
    masks = [part == PART_OF for part in range(len(SIZES))]
    deviations = [(x[..., mask] @ weights[mask]).std() for mask in masks]
    prior = (np.sqrt(shares) / deviations)[PART_OF]
    prior = prior / (x @ (weights * prior)).std()
    return World(
        number=number,
        transitions=transitions,
        shares=shares,
        weights=weights * prior,
        prior=prior,
    )


def draw_prompts(transitions: Array, count: int, rng: np.random.Generator) -> Symbols:
    """[count, PROMPT_LENGTH] symbols of the chain, the first one uniform."""
    first = rng.integers(SYMBOLS, size=count)
    chain = Chain(transitions=transitions, weights=np.zeros(SYMBOLS))
    return np.concatenate([first[:, None], walk(chain, first, PROMPT_LENGTH - 1, rng)], axis=1)


def draw_responses(transitions: Array, prompts: Symbols, rng: np.random.Generator) -> Symbols:
    """[N, LONGEST]: responses to prompts [N, PROMPT_LENGTH]; all lengths are equally likely."""
    chain = Chain(transitions=transitions, weights=np.zeros(SYMBOLS))
    responses = walk(chain, prompts[:, -1], LONGEST, rng)
    lengths = rng.integers(SHORTEST, LONGEST + 1, size=len(prompts))
    return np.where(np.arange(LONGEST) < lengths[:, None], responses, END)


def features(prompts: Symbols, responses: Symbols) -> Array:
    """[N, F] features of responses [N, LONGEST] to prompts [N, PROMPT_LENGTH]; F is 166."""
    one_hot = np.eye(END + 1)[:, :SYMBOLS]
    symbols = one_hot[responses]  # [N, L, S]; 0 after the end
    before = one_hot[np.concatenate([prompts[:, -1:], responses[:, :-1]], axis=1)]
    counts = symbols.sum(axis=1)
    order = np.einsum("nlu,nls->nus", before, symbols)
    present = counts > 0
    together = present[:, PAIRS[0]] & present[:, PAIRS[1]]
    after_prompt = one_hot[prompts[:, 0]][:, :, None] * counts[:, None, :]
    length = (counts.sum(axis=1) - (SHORTEST + LONGEST) / 2)[:, None]
    size = len(responses)
    parts = [counts, order.reshape(size, -1), together, after_prompt.reshape(size, -1)]
    return np.concatenate([*parts, length, length**2], axis=1)


def gold(world: World, prompts: Symbols, responses: Symbols) -> Array:
    """The gold score of each response, [N]."""
    scores: Array = features(prompts, responses) @ world.weights
    return scores


def label(world: World, prompts: Symbols, responses: Symbols, rng: np.random.Generator) -> Labels:
    """Rankings by gold score and Gumbel noise: Plackett-Luce, and Bradley-Terry for pairs.

    responses: [N, K, LONGEST].
    """
    count, choices, _ = responses.shape
    rows = responses.reshape(count * choices, LONGEST)
    scores = gold(world, prompts.repeat(choices, axis=0), rows).reshape(count, choices)
    order = np.argsort(-(scores + rng.gumbel(size=scores.shape)), axis=1)
    return Labels(
        prompts=prompts, responses=np.take_along_axis(responses, order[:, :, None], axis=1)
    )


def draw_candidates(
    world: World, count: int, choices: int, rng: np.random.Generator
) -> tuple[Symbols, Symbols]:
    """Prompts [count, PROMPT_LENGTH] and responses [count, choices, LONGEST] of the chain."""
    prompts = draw_prompts(world.transitions, count, rng)
    responses = draw_responses(world.transitions, prompts.repeat(choices, axis=0), rng)
    return prompts, responses.reshape(count, choices, LONGEST)


def draw_labels(world: World, count: int, *, choices: int, part: int) -> Labels:
    """Labels of responses drawn from the chain; each `part` is an independent sample."""
    rng = np.random.default_rng((world.number, 20, choices, part))
    return label(world, *draw_candidates(world, count, choices, rng), rng)
