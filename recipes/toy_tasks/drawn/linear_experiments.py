"""Learners without a network on the same labels: the ceiling, and features of the SFT model."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from recipes.toy_tasks.drawn.bench import Bench
from recipes.toy_tasks.drawn.experiments import HELD_OUT
from recipes.toy_tasks.drawn.labels_by_policy import CANDIDATES, SAMPLES, best_policy, two_of
from recipes.toy_tasks.drawn.linear import (
    Features,
    Linear,
    bayes,
    by_held_out,
    chosen_pairs,
    neighbours,
)
from recipes.toy_tasks.drawn.network import Params, rows_of, states, token_logprobs
from recipes.toy_tasks.drawn.world import (
    LONGEST,
    PROMPT_LENGTH,
    Array,
    Labels,
    Symbols,
    World,
    draw_candidates,
    draw_labels,
    features,
    label,
)

PAIRS = (250, 500, 1000, 2500, 5000, 10000)
ROUNDS = 5  # of labels chosen by the learner
Found = tuple[str, int, int, Array]  # learner, pairs, choices, rewards [W, P, M] of the pools
Choose = Callable[[World, Linear, int, np.random.Generator], Labels]


def learners(bench: Bench) -> Iterator[Found]:
    """Every learner at every number of labels, and of rankings of the same cost at 2,500."""
    for pairs in PAIRS:
        yield from at(bench, pairs, 2)
    for choices in (4, 8):
        yield from at(bench, 2500, choices)
    for name, draw in (("active", active_labels), ("on policy", on_policy_labels)):
        models = [bayes(world, draw(world, 2500)) for world in bench.worlds]
        yield f"Bayes, {name}", 2500, 2, rewards_of(bench, models)


def at(bench: Bench, pairs: int, choices: int) -> Iterator[Found]:
    """The learners on random labels."""
    labels = [draw_labels(w, 2 * pairs // choices, choices=choices, part=0) for w in bench.worlds]
    models = [bayes(world, each) for world, each in zip(bench.worlds, labels, strict=True)]
    yield "Bayes", pairs, choices, rewards_of(bench, models)
    split = [split_labels(each) for each in labels]
    for name, function in (("right features", features), ("neighbours", neighbours)):
        models = [by_held_out(function, *each) for each in split]
        yield name, pairs, choices, rewards_of(bench, models)
    models = [by_held_out(sft_features(bench.sft, i), *each) for i, each in enumerate(split)]
    yield "SFT features", pairs, choices, rewards_of(bench, models)


def split_labels(labels: Labels) -> tuple[Labels, Labels]:
    """Labels to train on, and every tenth to choose a penalty by."""
    step = round(1 / HELD_OUT)
    held_out = np.arange(len(labels)) % step == step - 1
    train, rest = (
        Labels(prompts=labels.prompts[rows], responses=labels.responses[rows])
        for rows in (~held_out, held_out)
    )
    return train, rest


def rewards_of(bench: Bench, models: Sequence[Linear]) -> Array:
    """[W, P, M]: rewards of the pools by each world's model."""
    pools = zip(models, bench.pools, strict=True)
    return np.stack([model.rewards(pool.prompts, pool.responses) for model, pool in pools])


def sft_features(sft: Params, world: int) -> Features:
    """States of the world's SFT model: their mean over the response, the last, and log-probs."""
    params = {name: weight[world : world + 1] for name, weight in sft.items()}

    def function(prompts: Symbols, responses: Symbols) -> Array:
        rows = rows_of(prompts[None], responses[None])
        with torch.no_grad():
            x, logprobs = states(params, rows.ids)[0], token_logprobs(params, rows)[0]
        places = torch.arange(x.shape[1])
        inside = (places > PROMPT_LENGTH) & (places <= rows.ends[0][:, None])  # [N, T]
        total = (x * inside[..., None]).sum(dim=1)
        last = x[torch.arange(len(x)), rows.ends[0]]
        length = inside.sum(dim=1, keepdim=True) / LONGEST
        columns = [total, total / inside.sum(dim=1, keepdim=True), last, length, length**2]
        found: Array = (
            torch.cat([*columns, logprobs.sum(dim=1, keepdim=True)], dim=1).double().numpy()
        )
        return found

    return function


def active_labels(world: World, count: int) -> Labels:
    """Pairs that a Bayes-optimal learner asks for, in rounds."""
    return _in_rounds(world, count, part=60, choose=_informative)


def on_policy_labels(world: World, count: int) -> Labels:
    """Pairs by the policy of a Bayes-optimal learner, in rounds."""
    return _in_rounds(world, count, part=61, choose=_by_policy)


def _in_rounds(world: World, count: int, *, part: int, choose: Choose) -> Labels:
    rng = np.random.default_rng((world.number, part))
    size = count // ROUNDS
    labels = draw_labels(world, size, choices=2, part=part)
    for _ in range(ROUNDS - 1):
        more = choose(world, bayes(world, labels), size, rng)
        labels = Labels(
            prompts=np.concatenate([labels.prompts, more.prompts]),
            responses=np.concatenate([labels.responses, more.responses]),
        )
    return labels


def _informative(world: World, model: Linear, count: int, rng: np.random.Generator) -> Labels:
    prompts, responses = draw_candidates(world, count * CANDIDATES, 2, rng)
    rows = chosen_pairs(model, prompts, responses, count)
    return label(world, prompts[rows], responses[rows], rng)


def _by_policy(world: World, model: Linear, count: int, rng: np.random.Generator) -> Labels:
    prompts, responses = draw_candidates(world, count, SAMPLES, rng)
    policy = best_policy(prompts, responses, model.rewards(prompts, responses))
    return label(world, prompts, two_of(policy, responses, rng), rng)
