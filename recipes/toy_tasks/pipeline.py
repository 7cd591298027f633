"""The product path in a world of the chain: files, SFT, reward model, PPO, evaluation."""

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
from recipes.toy_tasks.stage_runs import PROOFS, run_recipe, write_rows
from recipes.toy_tasks.tiny_model import make_model

DEMONSTRATIONS, PROMPTS = "demonstrations.jsonl", "prompts.jsonl"
HELD_OUT, HELD_OUT_PAIRS = "prompts_heldout.jsonl", 500
WORLD = PROOFS / "markov" / "chain.py"


def make_sft(folder: Path, world: int) -> Path:
    """The files that all stages share; an untrained model and what the chain writes -> sft/."""
    for name, rows in {
        DEMONSTRATIONS: demonstrations(world, 4000),
        PROMPTS: prompt_rows(world, 2000, part=0),
        HELD_OUT: prompt_rows(world, 256, part=1),
    }.items():
        write_rows(folder / name, rows)
    make_model(folder / "base", SYMBOLS, seed=world)
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
    """So many pairs -> folder/NAME; of the held-out ones as many are flipped."""
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
    """The SFT model and a reward model -> folder/NAME; None is a reward of 0 for everything."""
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
    """The policies beside the SFT model, judged by that function of chain.py."""
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
