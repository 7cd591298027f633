"""Step by step: a sum that is too hard at once can be computed in steps, and PPO discovers this.

    python recipes/toy_tasks/steps.py --seeds 0 1 2 3 4 5 6 7 8 9

The task is the sum mod 10 of six letters, each of which encodes a digit in a hidden code. One model
is trained on the sum alone, one on all running sums, and one on a mix of both. PPO starts from the
third model. Only the last digit is rewarded.
"""

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.stage_runs import (  # noqa: E402
    TOY_TASKS,
    Metrics,
    metric_value,
    run_parallel,
    run_recipe,
    run_seeds,
    write_rows,
)
from recipes.toy_tasks.sums.code import SYMBOLS, demonstrations, prompt_rows  # noqa: E402
from recipes.toy_tasks.tiny_model import make_model, make_tokenizer  # noqa: E402

CODE = TOY_TASKS / "sums" / "code.py"
DEMONSTRATIONS, PROMPTS, HELD_OUT = 6000, 4000, 500
WAYS = {
    "glance": {"glance": True},
    "steps": {"steps": True},
    "both": {"glance": True, "steps": True},
}
EPOCHS = {"glance": 8, "steps": 16, "both": 24}  # half of the rows of `both` have steps


def run(folder: Path, seed: int, jobs: int) -> Metrics:
    """Train three SFT models, and PPO from the third; returns how often each is right, and how."""
    make_model(folder / "base", make_tokenizer(SYMBOLS), seed=seed)
    models = run_parallel(jobs, {way: partial(make_sft, folder, seed, way) for way in WAYS})
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
    metrics = {
        f"{name}: right": metric_value(evaluation, "score", name, judge="gold") for name in models
    }
    for name in ("both", "ppo"):
        axis = metric_value(evaluation, "axis", name, axis="takes the steps", judge="gold")
        metrics[f"{name}: takes the steps"] = axis
    return {**metrics, "ppo: KL": metric_value(evaluation, "kl", "ppo")}


def make_sft(folder: Path, seed: int, way: str) -> Path:
    """Train on demonstrations of this kind; returns the model's folder."""
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
    """Run PPO on words that occur in no demonstration; returns the policy's folder."""
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
