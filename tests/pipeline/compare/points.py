"""Made-up points and keys of a comparison."""

import json

import numpy as np

from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.cost import Cost
from rlhf.pipeline.compare.methods import Method
from rlhf.pipeline.compare.points import Point

PROMPTS = 200
KEYS = {
    "model_name_or_path": "sft",
    "labels": "labels.jsonl",
    "prompts": "prompts.jsonl",
    "heldout_prompts": "heldout.jsonl",
    "judge": "gold.py:score",
}


def config_of(methods, **keys):
    """The keys of a comparison of these methods; its files do not exist."""
    return CompareConfig(**KEYS, methods=json.dumps(methods), **keys)


def make_point(name, value, win_rate, kl, *, reward=0.0, recipe="ppo", seconds=60.0, spread=0.0):
    """A point of three seeds: wins alternate around the win rate, seeds differ by `spread`.

    Prompts of even index win `win_rate` + 0.1, those of odd index `win_rate` - 0.1, for each point
    alike: differences of two points have no noise but that of the seeds.
    """
    trains = recipe != "best_of_n"
    swept = {"ppo": "kl_coef", "dpo": "beta"}.get(recipe, "num_responses")
    method = Method(name=name, recipe=recipe, config=None, keys={}, swept=swept, values=[value])
    seeds = np.array([[-spread], [0.0], [spread]]) if trains else np.zeros((1, 1))
    wins = win_rate + 0.1 * (-1.0) ** np.arange(PROMPTS)[None, :] + seeds
    return Point(
        method=method,
        value=value,
        wins=wins,
        kl=np.full_like(wins, kl),
        reward=np.full_like(wins, reward),
        score=np.full_like(wins, 2 * win_rate),
        length=np.full_like(wins, 12.0),
        seeds=[0, 1, 2] if trains else [],
        costs=[Cost(responses=640, tokens=12_000, seconds=seconds)] * 3 if trains else [],
    )
