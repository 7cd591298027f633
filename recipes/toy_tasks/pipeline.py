"""The stages in a world of the Markov chain: files, SFT, reward model, PPO, evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.toy_tasks.markov.chain import (
    SYMBOLS,
    Score,
    demonstrations,
    gold,
    pairs,
    prompt_rows,
)
from recipes.toy_tasks.stage_runs import TOY_TASKS, run_recipe, write_rows
from recipes.toy_tasks.tiny_model import make_model, make_tokenizer

DEMONSTRATIONS, PROMPTS = "demonstrations.jsonl", "prompts.jsonl"
HELD_OUT, HELD_OUT_PAIRS = "prompts_heldout.jsonl", 500
WORLD = TOY_TASKS / "markov" / "chain.py"


def make_sft(folder: Path, world: int) -> Path:
    """Write the files that all stages share, and fine-tune an untrained model on chain text."""
    for name, rows in {
        DEMONSTRATIONS: demonstrations(world, 4000),
        PROMPTS: prompt_rows(world, 2000, part=0),
        HELD_OUT: prompt_rows(world, 256, part=1),
    }.items():
        write_rows(folder / name, rows)
    make_model(folder / "base", make_tokenizer(SYMBOLS), seed=world)
    return run_recipe(
        folder / "sft",
        "sft",
        "markov/sft.yaml",
        model_name_or_path=str(folder / "base"),
        train_data=str(folder / DEMONSTRATIONS),
        seed=world,
    )


def make_reward_model(
    folder: Path,
    name: str,
    world: int,
    *,
    labels: int,
    flipped: float = 0.0,
    score: Score = gold,
    **keys: Any,
) -> Path:
    """Train a reward model on pairs of the chain in `folder/name`; returns that folder.

    Args:
        folder: folder of the world, with sft/.
        name: name of the reward model's folder.
        world: number of the world, and seed of the run.
        labels: number of training pairs.
        flipped: share of the labels to reverse, in the held-out pairs too.
        score: the score that decides the labels.
        keys: further keys of recipes/reward_model.py.
    """
    data = {
        role: write_rows(
            folder / f"{name}-{role}.jsonl",
            pairs(world, count, part=part, flipped=flipped, score=score),
        )
        for part, (role, count) in enumerate({"train": labels, "eval": HELD_OUT_PAIRS}.items())
    }
    return run_recipe(
        folder / name,
        "reward_model",
        "markov/reward_model.yaml",
        model_name_or_path=str(folder / "sft"),
        train_data=data["train"],
        eval_data=data["eval"],
        normalization_data=str(folder / DEMONSTRATIONS),
        seed=world,
        **keys,
    )


def make_policy(
    folder: Path, name: str, world: int, reward_model: Path | None, **keys: Any
) -> Path:
    """Run PPO from the SFT model in `folder/name`; without a reward model every reward is 0."""
    reward = [f"{WORLD}:nothing"]
    if reward_model is not None:
        reward = [str(reward_model), f"{WORLD}:complete"]
    return run_recipe(
        folder / name,
        "ppo",
        "markov/ppo.yaml",
        model_name_or_path=str(folder / "sft"),
        reward=reward,
        train_data=str(folder / PROMPTS),
        seed=world,
        **keys,
    )


def evaluate(
    folder: Path, name: str, world: int, policies: Mapping[str, Path], *, judge: Score, **keys: Any
) -> Path:
    """Compare the policies with the SFT model in `folder/name`; returns that folder.

    Args:
        folder: folder of the world, with sft/.
        name: name of the evaluation's folder.
        world: number of the world, and seed of the run.
        policies: name of each policy and its folder.
        judge: the gold score, a function of chain.py.
        keys: further keys of recipes/evaluate.py.
    """
    models = {"sft": folder / "sft", **policies}
    return run_recipe(
        folder / name,
        "evaluate",
        "markov/evaluate.yaml",
        models=[f"{model}={path}" for model, path in models.items()],
        eval_data=str(folder / HELD_OUT),
        gold=f"{WORLD}:{judge.__name__}",
        seed=world,
        **keys,
    )
