"""Step by step: what cannot be said at a glance can be worked out, and PPO finds that out.

    python recipes/toy_tasks/steps.py --seeds 0 1 2 3 4 5 6 7 8 9

Sums mod 10 of six letters that stand for digits by a hidden code. One model is shown the sum alone,
one every running sum, one now this and now that. PPO goes on from the third, with nothing but the
last digit rewarded.
"""

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.stage_runs import (  # noqa: E402
    PROOFS,
    Figures,
    figure,
    run_recipe,
    run_seeds,
    side_by_side,
    write_rows,
)
from recipes.toy_tasks.sums.code import SYMBOLS, demonstrations, prompt_rows  # noqa: E402
from recipes.toy_tasks.tiny_model import make_model  # noqa: E402

CODE = PROOFS / "sums" / "code.py"
DEMONSTRATIONS, PROMPTS, HELD_OUT = 6000, 4000, 500
WAYS = {
    "glance": {"glance": True},
    "steps": {"steps": True},
    "both": {"glance": True, "steps": True},
}
EPOCHS = {"glance": 8, "steps": 16, "both": 24}  # half of the third's rows show steps


def run(folder: Path, seed: int, jobs: int) -> Figures:
    """Three SFT models, PPO from the third; who is right how often, and in which way."""
    make_model(folder / "base", SYMBOLS, seed=seed)
    models = side_by_side(jobs, {way: partial(make_sft, folder, seed, way) for way in WAYS})
    models["ppo"] = make_policy(folder, seed, models["both"])
    evaluation = run_recipe(
        folder / "evaluation",
        "evaluate",
        "sums/evaluate.yaml",
        models=[f"{name}={path}" for name, path in models.items()],
        eval_data=write_rows(
            folder / "prompts_heldout.jsonl",
            prompt_rows(seed, HELD_OUT, start=DEMONSTRATIONS + PROMPTS),
        ),
        gold=f"{CODE}:right",
        axes=f"{CODE}:axes",
        seed=seed,
    )
    found = {f"{name}: right": figure(evaluation, "score", name, judge="gold") for name in models}
    for name in ("both", "ppo"):
        axis = figure(evaluation, "axis", name, axis="takes the steps", judge="gold")
        found[f"{name}: takes the steps"] = axis
    return {**found, "ppo: KL": figure(evaluation, "kl", "ppo")}


def make_sft(folder: Path, seed: int, way: str) -> Path:
    """The model that is shown sums in this way."""
    rows = demonstrations(seed, DEMONSTRATIONS, **WAYS[way])
    return run_recipe(
        folder / f"sft-{way}",
        "sft",
        "sums/sft.yaml",
        model_name_or_path=str(folder / "base"),
        train_data=write_rows(folder / f"{way}.jsonl", rows),
        num_train_epochs=EPOCHS[way],
        seed=seed,
    )


def make_policy(folder: Path, seed: int, sft: Path) -> Path:
    """PPO on words of its own."""
    rows = prompt_rows(seed, PROMPTS, start=DEMONSTRATIONS)
    return run_recipe(
        folder / "ppo",
        "ppo",
        "sums/ppo.yaml",
        model_name_or_path=str(sft),
        reward=[f"{CODE}:right"],
        train_data=write_rows(folder / "prompts.jsonl", rows),
        seed=seed,
    )


if __name__ == "__main__":
    run_seeds("steps", __doc__, run)
