"""The best policy for a reward, exactly, over all responses that it can give.

A pool has M responses to each prompt and their probabilities under the reference. The policy that
maximises E[reward] - beta KL is p exp(reward / beta) / Z: what PPO would reach with a perfect
optimizer and a policy that can represent everything. Its efficiency depends on the reward model
alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.toy_tasks.drawn.world import World, draw_prompts, draw_responses, gold

Array = NDArray[np.float64]
Symbols = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """All responses that a policy can give to some prompts."""

    prompts: Symbols  # [P, PROMPT_LENGTH]
    responses: Symbols  # [P, M, LONGEST]
    gold: Array  # [P, M]
    logprobs: Array  # [P, M], of the reference; exp sums to 1 for each prompt


def draw_pool(world: World, *, num_prompts: int, size: int) -> Pool:
    """A pool of responses drawn from the chain, on which the reference is uniform."""
    rng = np.random.default_rng((world.number, 30))
    prompts = draw_prompts(world.transitions, num_prompts, rng)
    rows = prompts.repeat(size, axis=0)
    responses = draw_responses(world.transitions, rows, rng)
    return Pool(
        prompts=prompts,
        responses=responses.reshape(num_prompts, size, -1),
        gold=gold(world, rows, responses).reshape(num_prompts, size),
        logprobs=np.full((num_prompts, size), -np.log(size)),
    )


def tilt(pool: Pool, rewards: Array, beta: float) -> tuple[Array, float]:
    """p exp(reward / beta) / Z [P, M], and its KL from p in nats, the mean over prompts."""
    scores = pool.logprobs + rewards / beta
    scores = scores - scores.max(axis=1, keepdims=True)
    logits = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    policy = np.exp(logits)
    return policy, float((policy * (logits - pool.logprobs)).sum(axis=1).mean())


def policy_at(pool: Pool, rewards: Array, kl: float) -> Array:
    """[P, M]: the best policy for these rewards [P, M] at this KL.

    A reward that is constant on a prompt's responses reaches no KL there; the policy then keeps the
    highest KL that it can reach.
    """
    scale = max(float(rewards.std()), 1e-12)
    low, high = np.log(1e-4 * scale), np.log(1e5 * scale)  # of log beta; the KL falls as it rises
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tilt(pool, rewards, np.exp(middle))[1] > kl else (low, middle)
    return tilt(pool, rewards, np.exp(high))[0]


def gold_at(pool: Pool, rewards: Array, kl: float) -> float:
    """Expected gold score of the best policy for these rewards at this KL."""
    return float((policy_at(pool, rewards, kl) * pool.gold).sum(axis=1).mean())


def efficiency(pool: Pool, rewards: Array, kl: float) -> float:
    """Gain in gold of the best policy for these rewards, as a share of the best possible gain."""
    start = float((np.exp(pool.logprobs) * pool.gold).sum(axis=1).mean())
    return (gold_at(pool, rewards, kl) - start) / (gold_at(pool, pool.gold, kl) - start)
