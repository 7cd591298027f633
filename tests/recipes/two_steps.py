"""Run recipes for two steps on eight rows, in the process of the test."""

import json
import runpy
import sys
from pathlib import Path

AXES = ("correct", "courtesy", "brief", "finished", "whole")
OBJECTS = ("ball", "cat", "dog", "bird", "box", "sea", "story", "animal")
ROWS = {
    "per_device_train_batch_size": 2,
    "eval_fraction": 0.25,
    "max_length": 128,
    "num_samples": 2,
}
KEYS = {
    "sft": {**ROWS, "sample_max_new_tokens": 4},
    "reward_model": ROWS,
    "dpo": {**ROWS, "sample_max_new_tokens": 4},
    "kto": {**ROWS, "sample_max_new_tokens": 4},
    "ppo": {
        "rollout_batch_size": 4,
        "num_minibatches": 2,
        "num_ppo_epochs": 1,
        "max_completion_length": 6,
        "num_eval_prompts": 2,
    },
    "evaluate": {"num_generations": 2, "max_completion_length": 6, "bootstrap_samples": 50},
}
# Recipe -> the name of its rows in `make_data`.
ROWS_OF = {
    "sft": "demonstrations",
    "reward_model": "rankings",
    "dpo": "rankings",
    "kto": "rankings",
    "ppo": "prompts",
}


def write_rows(path, rows):
    """Write a JSONL file; returns its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def make_data(folder: Path) -> dict[str, str]:
    """Write demonstrations, rankings and prompts; returns the paths by name."""
    prompts = [f"Where is the {thing}?" for thing in OBJECTS]
    responses = [[f"In the {other}." for other in OBJECTS[:k]] for k in (2, 3, 4, 2, 3, 4, 2, 3)]
    pairs = list(zip(prompts, responses, strict=True))
    rated = [(p, text, place) for p, texts in pairs for place, text in enumerate(texts)]
    return {
        "outcomes": write_rows(
            folder / "outcomes.jsonl",
            [{"prompt": p, "response": text, "correct": n == 0} for p, text, n in rated],
        ),
        "ratings": write_rows(
            folder / "ratings.jsonl",
            [
                {
                    "prompt": p,
                    "response": text,
                    "ratings": {axis: n + len(axis) % 2 for axis in AXES},
                }
                for p, text, n in rated
            ],
        ),
        "demonstrations": write_rows(
            folder / "demonstrations.jsonl",
            [{"prompt": p, "completion": a[0]} for p, a in pairs],
        ),
        "rankings": write_rows(
            folder / "rankings.jsonl",
            [{"prompt": p, "responses": a, "ranks": list(range(1, len(a) + 1))} for p, a in pairs],
        ),
        "prompts": write_rows(folder / "prompts.jsonl", [{"prompt": p} for p in prompts]),
    }


def recipe_args(recipe, data, model, output, **extra):
    """The arguments for two steps of `recipe`."""
    keys = {"output_dir": output, "cpu_threads": 1, **KEYS[recipe]}
    if recipe == "evaluate":
        keys |= {"eval_data": data["prompts"]}
    else:
        rows = ROWS_OF[recipe]
        # One precision for all: accelerate keeps its first one as long as the process lives.
        keys |= {"model_name_or_path": model, "max_steps": 2, "save_steps": 1, "bf16": False}
        keys |= {"train_data": data[rows]}
    if recipe == "reward_model":
        keys |= {"normalization_data": data["demonstrations"]}
    return [f"--{key}={value}" for key, value in (keys | extra).items()]


def run_in_process(root, monkeypatch, recipe, arguments):
    """Run the recipe's `main` in this process, so that imports run only once."""
    monkeypatch.setattr(sys, "argv", [f"{recipe}.py", *arguments])
    runpy.run_path(str(root / "recipes" / f"{recipe}.py"))["main"]()
