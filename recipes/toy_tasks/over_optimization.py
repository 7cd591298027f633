"""Over-optimisation: the reward keeps rising after the gold score has started to fall.

    python recipes/toy_tasks/over_optimization.py --seeds 0 1 2 3 4 5 6 7 8 9

The world is that of frontier.py, with 400 pairs and a penalty on repetition that the sequences of
the chain almost never incur. PPO runs without a KL penalty. `evaluate` has to detect from its
checkpoints that the gold score fell while the proxy rose, and to select a good checkpoint. For
comparison, PPO also runs with a KL penalty, with the worst of four heads as the reward, and with a
KL budget.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.markov.chain import gold_with_penalty  # noqa: E402
from recipes.toy_tasks.pipeline import (  # noqa: E402
    evaluate,
    make_policy,
    make_reward_model,
    make_sft,
)
from recipes.toy_tasks.stage_runs import Metrics, metric_value, run_parallel, run_seeds, slug  # noqa: E402

NO_PENALTY = "free"
ARMS: dict[str, dict[str, Any]] = {
    NO_PENALTY: {"kl_coef": 0.0, "save_steps": 3, "save_total_limit": 100},
    "kl_coef 0.3": {"kl_coef": 0.3},
    "worst of four heads": {"kl_coef": 0.0, "reward_aggregation": "worst"},
    "kl_budget 6": {"kl_coef": 0.0, "kl_budget": 6.0},
}


def run(folder: Path, seed: int, jobs: int) -> Metrics:
    """Run all arms in one world; returns their metrics and the frontier of the unpenalised one."""
    make_sft(folder, seed)
    reward_model = make_reward_model(
        folder, "reward_model", seed, labels=400, score=gold_with_penalty, num_heads=4
    )
    policies = run_parallel(
        jobs,
        {
            slug(arm): partial(make_policy, folder, slug(arm), seed, reward_model, **keys)
            for arm, keys in ARMS.items()
        },
    )
    judges: dict[str, Any] = {"judge": gold_with_penalty, "reward_model": [str(reward_model)]}
    unpenalized = policies[NO_PENALTY]
    frontier_folder = evaluate(
        folder, "frontier", seed, {NO_PENALTY: unpenalized}, frontier=str(unpenalized), **judges
    )
    content = json.loads((frontier_folder / "evaluation.json").read_text(encoding="utf-8"))
    frontier = content["frontier"]
    best_point = next(point for point in frontier["points"] if point["name"] == frontier["best"])
    selected = unpenalized / f"checkpoint-{best_point['step']}"
    compared = {"taken": selected if best_point["step"] else folder / "sft", **policies}
    evaluation = evaluate(folder, "evaluation", seed, compared, **judges)
    return frontier_metrics(frontier) | {
        f"{name}: {metric}": metric_value(evaluation, metric, slug(name), **where)
        for name in ("taken", *ARMS)
        for metric, where in (("score", {"judge": "gold"}), ("kl", {}))
    }


def frontier_metrics(frontier: dict[str, Any]) -> Metrics:
    """Gold score and proxy over the checkpoints, and whether over-optimisation was detected."""
    points = frontier["points"]
    golds = [point["held_out"]["value"] for point in points]
    proxies = [point["proxy"]["value"] for point in points]
    peak = golds.index(max(golds))
    return {
        "flagged": float(frontier["over_optimized"]),
        "gold at the start": golds[0],
        "gold at its peak": golds[peak],
        "gold at the end": golds[-1],
        "proxy at the start": proxies[0],
        "proxy at gold's peak": proxies[peak],
        "proxy at the end": proxies[-1],
        "checkpoint at the peak": float(points[peak]["step"]),
        "KL at the peak": points[peak]["kl"]["value"],
        "KL at the end": points[-1]["kl"]["value"],
    }


if __name__ == "__main__":
    run_seeds("over_optimization", __doc__, run)
