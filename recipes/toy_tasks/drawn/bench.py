"""Worlds with SFT models, and pools of responses on which the rewards of learners are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recipes.toy_tasks.drawn.network import Params, Rows, rows_of
from recipes.toy_tasks.drawn.pool import Pool, draw_pool, efficiency
from recipes.toy_tasks.drawn.training import train_on_demonstrations
from recipes.toy_tasks.drawn.world import Array, World, draw_prompts, draw_responses, world_of

KLS = (0.5, 1.0, 2.0, 4.0)  # nats at which efficiency is measured
NUM_PROMPTS, POOL_SIZE = 8, 512
Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Worlds, their SFT models and the pools on which rewards are compared."""

    worlds: Sequence[World]
    sft: Params  # [W, ...]
    pools: Sequence[Pool]
    rows: Rows  # [W, P * M], the pools


def make_bench(numbers: Sequence[int], sft: Params) -> Bench:
    """The worlds with these numbers."""
    worlds = [world_of(number) for number in numbers]
    pools = [draw_pool(world, num_prompts=NUM_PROMPTS, size=POOL_SIZE) for world in worlds]
    prompts = np.stack([pool.prompts.repeat(POOL_SIZE, axis=0) for pool in pools])
    responses = np.stack([pool.responses.reshape(NUM_PROMPTS * POOL_SIZE, -1) for pool in pools])
    return Bench(worlds=worlds, sft=sft, pools=pools, rows=rows_of(prompts, responses))


def train_sft(numbers: Sequence[int], *, count: int = 4000, epochs: int = 4) -> Params:
    """Language models of demonstrations of each world."""
    prompts, responses = [], []
    for number in numbers:
        rng = np.random.default_rng((number, 40))
        transitions = world_of(number).transitions
        prompts.append(draw_prompts(transitions, count, rng))
        responses.append(draw_responses(transitions, prompts[-1], rng))
    rows = rows_of(np.stack(prompts), np.stack(responses))
    return train_on_demonstrations(rows, epochs=epochs, seed=0)


def efficiencies(bench: Bench, rewards: Array) -> list[Metrics]:
    """For each world the efficiency of rewards [W, P, M] at every KL, and their correlation."""
    return [
        {f"{kl:g} nats": efficiency(pool, values, kl) for kl in KLS}
        | {"correlation": correlation(values, pool.gold)}
        for pool, values in zip(bench.pools, rewards, strict=True)
    ]


def correlation(rewards: Array, gold: Array) -> float:
    """Correlation of rewards and gold scores [P, M] among the responses to one prompt."""
    one, other = (values - values.mean(axis=1, keepdims=True) for values in (rewards, gold))
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()).clip(min=1e-12))
