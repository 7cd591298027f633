"""Dose and controls: what PPO gains from labels that are right in part, few, or wrong.

    python recipes/toy_tasks/dose.py --seeds 0 1 2 3 4 5 6 7 8 9

The world of frontier.py. Of 2,000 labels 0, 25, 50 or 100% are turned round; or there are 200; or
the reward is 0 for everything. Each arm has its own reward model, PPO at kl_coef 0.3 whatever the
gate says of it, and its win rate against the SFT model by the gold score.
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
    Figures,
    figure,
    run_seeds,
    side_by_side,
    slug,
    verdict,
)

# name -> labels, share of them turned round; None: a reward of 0
ARMS = {
    "0% flipped": (2000, 0.0),
    "25% flipped": (2000, 0.25),
    "50% flipped": (2000, 0.5),
    "100% flipped": (2000, 1.0),
    "200 labels": (200, 0.0),
    "zero reward": None,
}


def run(folder: Path, seed: int, jobs: int) -> Figures:
    """Every arm in one world; win rate and KL of each, and what the gate says."""
    make_sft(folder, seed)
    policies = side_by_side(jobs, {slug(arm): partial(train, folder, seed, arm) for arm in ARMS})
    evaluation = evaluate(folder, "evaluation", seed, policies, judge=gold)
    found: Figures = {}
    for arm, labels in ARMS.items():
        if labels is not None:
            found[f"{arm}: gate"] = verdict(folder / f"reward-{slug(arm)}")
        found |= {
            f"{arm}: win rate": figure(evaluation, "win_rate", slug(arm), judge="gold"),
            f"{arm}: gold": figure(evaluation, "score", slug(arm), judge="gold"),
            f"{arm}: KL": figure(evaluation, "kl", slug(arm)),
        }
    return found


def train(folder: Path, seed: int, arm: str) -> Path:
    """The arm's reward model, and the policy that PPO makes with it."""
    reward_model = None
    if (chosen := ARMS[arm]) is not None:
        labels, flipped = chosen
        reward_model = make_reward_model(
            folder, f"reward-{slug(arm)}", seed, labels=labels, flipped=flipped
        )
    return make_policy(folder, slug(arm), seed, reward_model, max_steps=30)


if __name__ == "__main__":
    run_seeds("dose", __doc__, run)
