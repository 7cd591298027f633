"""Second rounds of labels: pairs that a reward model is unsure of, or that its policy writes."""

from collections.abc import Sequence

import numpy as np

from recipes.toy_tasks.drawn.network import Params, Rows, rows_of
from recipes.toy_tasks.drawn.pool import Pool, policy_at
from recipes.toy_tasks.drawn.training import read_rewards
from recipes.toy_tasks.drawn.world import (
    Array,
    Labels,
    Symbols,
    World,
    draw_candidates,
    label,
)

CANDIDATES = 4  # pairs for each that is labelled
SAMPLES = 16  # responses to each prompt of which the policy takes two
KL = 1.5  # nats; the highest that 16 samples allow is log 16 = 2.8


def active_pairs(worlds: Sequence[World], params: Params, members: int, count: int) -> list[Labels]:
    """Labels of the pairs about whose order the members of an ensemble differ most."""
    drawn = [
        draw_candidates(w, count * CANDIDATES, 2, np.random.default_rng((w.number, 50)))
        for w in worlds
    ]
    scores = _read(params, members, drawn)  # [W, members, N, 2]
    spread = (scores[..., 0] - scores[..., 1]).std(axis=1)
    found = []
    for world, (prompts, responses), values in zip(worlds, drawn, spread, strict=True):
        rows = np.argsort(-values, kind="stable")[:count]
        rng = np.random.default_rng((world.number, 51))
        found.append(label(world, prompts[rows], responses[rows], rng))
    return found


def on_policy_pairs(
    worlds: Sequence[World], params: Params, members: int, count: int
) -> list[Labels]:
    """Labels of pairs from the best policy for the members' mean reward, at a KL of KL nats.

    Each prompt has SAMPLES responses of the reference; the policy draws two different ones of them.
    """
    drawn = [
        draw_candidates(w, count, SAMPLES, np.random.default_rng((w.number, 53))) for w in worlds
    ]
    scores = _read(params, members, drawn).mean(axis=1)  # [W, N, SAMPLES]
    found = []
    for world, (prompts, responses), rewards in zip(worlds, drawn, scores, strict=True):
        rng = np.random.default_rng((world.number, 52))
        pairs = two_of(best_policy(prompts, responses, rewards), responses, rng)
        found.append(label(world, prompts, pairs, rng))
    return found


def best_policy(prompts: Symbols, responses: Symbols, rewards: Array) -> Array:
    """[N, SAMPLES]: the best policy for rewards [N, SAMPLES] at KL nats from the uniform one."""
    uniform = np.full(rewards.shape, -np.log(rewards.shape[1]))
    pool = Pool(prompts=prompts, responses=responses, gold=rewards, logprobs=uniform)
    return policy_at(pool, rewards, KL)


def two_of(policy: Array, responses: Symbols, rng: np.random.Generator) -> Symbols:
    """[N, 2, L]: two responses to each prompt, drawn from the policy without replacement.

    The two largest of log-probs with Gumbel noise are such a sample.

    policy: [N, K]; responses: [N, K, L].
    """
    noisy = np.log(policy.clip(min=1e-300)) + rng.gumbel(size=policy.shape)
    places = np.argsort(-noisy, axis=1)[:, :2]
    return np.take_along_axis(responses, places[:, :, None], axis=1)


def _read(params: Params, members: int, drawn: Sequence[tuple[Symbols, Symbols]]) -> Array:
    """[W, members, N, K]: rewards of candidates."""
    count, choices, length = drawn[0][1].shape
    rows = rows_of(
        np.stack([prompts.repeat(choices, axis=0) for prompts, _ in drawn]),
        np.stack([responses.reshape(-1, length) for _, responses in drawn]),
    )
    ids, ends = (part.repeat_interleave(members, dim=0) for part in (rows.ids, rows.ends))
    values = read_rewards(params, Rows(ids=ids, ends=ends))
    return values.double().numpy().reshape(len(drawn), members, count, choices)
