"""Over-optimisation: the reward goes on rising when the policy has long become worse.

    python recipes/toy_tasks/over_optimization.py --seeds 0 1 2 3 4 5 6 7 8 9

The world of frontier.py, with a penalty on repetition that the walks of the chain hardly ever
meet, and 400 pairs. PPO without a KL penalty; `evaluate` has to see from its checkpoints that the
gold score fell while the proxy rose, and to name a good one. Beside it the same with a KL penalty,
with the worst of four heads as the reward, and with a KL budget.
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
from recipes.toy_tasks.stage_runs import Figures, figure, run_seeds, side_by_side, slug  # noqa: E402

FREE = "free"
ARMS: dict[str, dict[str, Any]] = {
    FREE: {"kl_coef": 0.0, "save_steps": 3, "save_total_limit": 100},
    "kl_coef 0.3": {"kl_coef": 0.3},
    "worst of four heads": {"kl_coef": 0.0, "reward_aggregation": "worst"},
    "kl_budget 6": {"kl_coef": 0.0, "kl_budget": 6.0},
}


def run(folder: Path, seed: int, jobs: int) -> Figures:
    """All arms in one world; the frontier of the free one."""
    make_sft(folder, seed)
    reward_model = make_reward_model(
        folder, "reward_model", seed, labels=400, score=gold_with_penalty, num_heads=4
    )
    policies = side_by_side(
        jobs,
        {
            slug(arm): partial(make_policy, folder, slug(arm), seed, reward_model, **keys)
            for arm, keys in ARMS.items()
        },
    )
    judges: dict[str, Any] = {"judge": gold_with_penalty, "reward_model": [str(reward_model)]}
    watched = evaluate(
        folder, "frontier", seed, {FREE: policies[FREE]}, frontier=str(policies[FREE]), **judges
    )
    seen = json.loads((watched / "evaluation.json").read_text(encoding="utf-8"))["frontier"]
    best = next(point for point in seen["points"] if point["name"] == seen["best"])
    taken = policies[FREE] / f"checkpoint-{best['step']}"
    compared = {"taken": taken if best["step"] else folder / "sft", **policies}
    evaluation = evaluate(folder, "evaluation", seed, compared, **judges)
    return frontier_metrics(seen) | {
        f"{name}: {metric}": figure(evaluation, metric, slug(name), **where)
        for name in ("taken", *ARMS)
        for metric, where in (("score", {"judge": "gold"}), ("kl", {}))
    }


def frontier_metrics(seen: dict[str, Any]) -> Figures:
    """What the checkpoints of the free run show, and whether it was seen."""
    points = seen["points"]
    golds = [point["held_out"]["value"] for point in points]
    proxies = [point["proxy"]["value"] for point in points]
    peak = golds.index(max(golds))
    return {
        "flagged": float(seen["over_optimized"]),
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
