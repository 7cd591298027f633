"""Dose and controls: how much PPO gains from labels that are partly wrong, few, or all wrong.

    python recipes/toy_tasks/dose.py --seeds 0 1 2 3 4 5 6 7 8 9

The world is that of frontier.py. 0, 25, 50 or 100% of 2,000 labels are reversed; or there are only
200 labels; or every reward is 0. Each arm has its own reward model and runs PPO at kl_coef 0.3,
whatever the gate's verdict. It is compared with the SFT model by the win rate on the gold score.
"""

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.markov.chain import gold  # noqa: E402
from recipes.toy_tasks.pipeline import (  # noqa: E402
    evaluate,
    make_policy,
    make_reward_model,
    make_sft,
)
from recipes.toy_tasks.stage_runs import (  # noqa: E402
    Metrics,
    gate_verdict,
    metric_value,
    run_parallel,
    run_seeds,
    slug,
)

# name -> number of labels, share of them that is reversed; None: every reward is 0
ARMS = {
    "0% flipped": (2000, 0.0),
    "25% flipped": (2000, 0.25),
    "50% flipped": (2000, 0.5),
    "100% flipped": (2000, 1.0),
    "200 labels": (200, 0.0),
    "zero reward": None,
}


def run(folder: Path, seed: int, jobs: int) -> Metrics:
    """Win rate, gold score and KL of every arm in one world, and the gate's verdicts."""
    make_sft(folder, seed)
    policies = run_parallel(jobs, {slug(arm): partial(train, folder, seed, arm) for arm in ARMS})
    evaluation = evaluate(folder, "evaluation", seed, policies, judge=gold)
    metrics: Metrics = {}
    for arm, labels in ARMS.items():
        if labels is not None:
            metrics[f"{arm}: gate"] = gate_verdict(folder / f"reward-{slug(arm)}")
        metrics |= {
            f"{arm}: win rate": metric_value(evaluation, "win_rate", slug(arm), judge="gold"),
            f"{arm}: gold": metric_value(evaluation, "score", slug(arm), judge="gold"),
            f"{arm}: KL": metric_value(evaluation, "kl", slug(arm)),
        }
    return metrics


def train(folder: Path, seed: int, arm: str) -> Path:
    """Train the arm's reward model, and a policy against it; returns the policy's folder."""
    reward_model = None
    if (setting := ARMS[arm]) is not None:
        labels, flipped = setting
        reward_model = make_reward_model(
            folder, f"reward-{slug(arm)}", seed, labels=labels, flipped=flipped
        )
    return make_policy(folder, slug(arm), seed, reward_model, max_steps=30)


if __name__ == "__main__":
    run_seeds("dose", __doc__, run)
