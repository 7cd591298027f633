"""Methods of policy optimisation against the exact frontier: how far, how fast, at what KL?

    python recipes/toy_tasks/methods.py --seeds 0 1 2
    python recipes/toy_tasks/methods.py --seeds 0 --methods grpo rloo

The world is that of frontier.py. The reward is the gold score itself, so that what a method does
not reach is not due to a reward model. Each method samples about 256 responses in each of 60
iterations, with the same learning rate and `kl_coef`, which were not tuned for any of them.
draw_methods.py draws the result. With --results FILE worlds that have the chosen methods in that
file are not run, and others are added to it.
"""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.seed_results import numbers_of  # noqa: E402
from recipes.toy_tasks.exact.best import Reference, efficiency, gold_of_reference  # noqa: E402
from recipes.toy_tasks.exact.reference import reference_of_model  # noqa: E402
from recipes.toy_tasks.markov.chain import chain_of, gold  # noqa: E402
from recipes.toy_tasks.methods_found import table_of_methods  # noqa: E402
from recipes.toy_tasks.pipeline import PROMPTS, WORLD, evaluate, make_sft  # noqa: E402
from recipes.toy_tasks.stage_runs import (  # noqa: E402
    Metrics,
    metric_value,
    read_responses,
    run_parallel,
    run_recipe,
    run_seeds,
)

# Keys over markov/methods.yaml, which is GRPO with 8 responses to each of 32 prompts.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "gae": {
        "advantage": "gae",
        "num_generations": 1,
        "critic_warmup_steps": 2,
        "value_learning_rate": 2e-3,
    },
    "rloo": {"advantage": "rloo"},
    "grpo": {},
    "grpo, k3": {"kl_estimator": "k3"},
    "grpo, KL in rewards": {"kl_in": "rewards"},
    "dr_grpo": {"advantage": "dr_grpo", "loss_type": "dr_grpo"},
    "reinforce++": {"advantage": "reinforce++", "num_generations": 1},
    "reinforce++_baseline": {"advantage": "reinforce++_baseline"},
    # 128 responses and 128 greedy ones.
    "remax": {"advantage": "remax", "num_generations": 1, "rollout_batch_size": 128},
    "sequence-mean": {"loss_type": "sequence-mean"},
    "gspo": {"importance_level": "sequence", "loss_type": "sequence-mean", "clip_range": 0.05},
    "clip-higher": {"clip_range_high": 0.28},
    "cispo": {"surrogate": "cispo", "clip_range_high": 4.0},
    "entropy bonus": {"entropy_coef": 0.01},
}
AT = (5, 10, 20, 40, 60)  # iterations of the learning curve
NEARLY = 0.9  # of the final gain in gold


def main() -> None:
    """Run the chosen methods on the chosen seeds."""
    chosen = list(METHODS)
    if "--methods" in sys.argv:
        start = sys.argv.index("--methods")
        words = sys.argv[start + 1 :]
        count = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
        chosen = words[:count]
        del sys.argv[start : start + 1 + count]
        if unknown := [name for name in chosen if name not in METHODS]:
            sys.exit(f"unknown methods {unknown}; there are {list(METHODS)}")

    def is_complete(metrics: Metrics) -> bool:
        return all(f"{name}: efficiency" in metrics for name in chosen)

    run_seeds(
        "methods",
        __doc__ or "",
        partial(run, methods=chosen),
        is_complete=is_complete,
        table=table,
    )


def table(worlds: Mapping[int, Metrics]) -> str:
    """Markdown: a row for each method."""
    return table_of_methods([numbers_of(metrics) for metrics in worlds.values()])


def run(folder: Path, seed: int, jobs: int, *, methods: list[str]) -> Metrics:
    """Run the methods in one world; returns their metrics."""
    make_sft(folder, seed)
    policies = run_parallel(
        jobs, {method: partial(make_policy, folder, method, seed) for method in methods}
    )
    name = "evaluation" if methods == list(METHODS) else f"evaluation-{'-'.join(methods)}"
    named = {slug(method): path for method, path in policies.items()}
    evaluation = evaluate(folder, name.replace(" ", "-"), seed, named, judge=gold)
    rows = read_responses(evaluation, "sft")
    reference, _ = reference_of_model(
        folder / "sft",
        chain_of(seed),
        [row["prompt"] for row in rows],
        [row["text"] for row in rows],
    )
    metrics: Metrics = {}
    for method, path in policies.items():
        metrics |= method_metrics(method, path, evaluation, reference)
    return metrics


def make_policy(folder: Path, method: str, seed: int) -> Path:
    """Train the SFT model of the world with this method."""
    return run_recipe(
        folder / slug(method),
        "ppo",
        "markov/methods.yaml",
        model_name_or_path=str(folder / "sft"),
        reward=[f"{WORLD}:gold", f"{WORLD}:complete"],
        train_data=str(folder / PROMPTS),
        seed=seed,
        **METHODS[method],
    )


def method_metrics(method: str, path: Path, evaluation: Path, reference: Reference) -> Metrics:
    """Gold, KL and efficiency on held-out prompts, and the curve of gold and KL in training."""
    score = metric_value(evaluation, "score", slug(method), judge="gold")
    kl = metric_value(evaluation, "kl", slug(method))
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    start = gold_of_reference(reference)
    reached = start + NEARLY * (lines[-1]["score/chain.py:gold"] - start)
    metrics: Metrics = {
        f"{method}: efficiency": efficiency(reference, score, kl),
        f"{method}: KL": kl,
        f"{method}: gold": score,
        f"{method}: iterations to 90% of its gain": next(
            line["step"] for line in lines if line["score/chain.py:gold"] >= reached
        ),
    }
    for step in AT:
        metrics[f"{method}: gold at {step}"] = lines[step - 1]["score/chain.py:gold"]
        metrics[f"{method}: KL at {step}"] = lines[step - 1]["kl"]
    return metrics


def slug(method: str) -> str:
    """The method as a folder's name and a model's name."""
    return method.replace(", ", "-").replace(" ", "-").replace("++", "pp")


if __name__ == "__main__":
    main()
