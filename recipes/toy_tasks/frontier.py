"""Exact frontier: how much of what can be gained at its KL does a policy gain?

    python recipes/toy_tasks/frontier.py --seeds 0 1 2 3 4 5 6 7 8 9

In a world where gold is a sum over the symbols of a Markov chain the best gold score at a given
KL follows by recursion. SFT, a reward model of 2,000 noisy pairs and PPO at three `kl_coef` are
held against it, by the figures of recipes/evaluate.py.

The KL is from the SFT model, and so is the frontier: a chain of that model's own probabilities,
by step. The chain that wrote the demonstrations has another frontier, which a policy could lie
above as well as below without having done better or worse; its efficiency is printed beside it.
"""

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.exact.best import best_gold, efficiency, gold_of  # noqa: E402
from recipes.toy_tasks.exact.reference import (  # noqa: E402
    reference_of_chain,
    reference_of_model,
    starts,
)
from recipes.toy_tasks.markov.chain import chain_of, gold  # noqa: E402
from recipes.toy_tasks.pipeline import (  # noqa: E402
    evaluate,
    make_policy,
    make_reward_model,
    make_sft,
)
from recipes.toy_tasks.stage_runs import Figures, answers_of, figure, run_seeds, side_by_side  # noqa: E402

KL_COEFS = (0.1, 0.3, 1.0)


def run(folder: Path, seed: int, jobs: int) -> Figures:
    """The whole path in one world; its figures."""
    make_sft(folder, seed)
    reward_model = make_reward_model(folder, "reward_model", seed, labels=2000)
    policies = side_by_side(
        jobs,
        {
            f"ppo-{coef}": partial(
                make_policy, folder, f"ppo-{coef}", seed, reward_model, kl_coef=coef
            )
            for coef in KL_COEFS
        },
    )
    evaluation = evaluate(
        folder, "evaluation", seed, policies, judge=gold, reward_model=[str(reward_model)]
    )
    return figures(folder, evaluation, seed)


def figures(folder: Path, evaluation: Path, world: int) -> Figures:
    """Gold score, KL and efficiency at each kl_coef."""
    chain, own = chain_of(world), answers_of(evaluation, "sft")
    prompts = [row["prompt"] for row in own]
    reference, left_out = reference_of_model(
        folder / "sft", chain, prompts, [row["text"] for row in own]
    )
    exact = reference_of_chain(chain, starts(prompts))
    found: Figures = {
        "gold of the reference, sampled": figure(evaluation, "score", "sft", judge="gold"),
        "gold of the reference, exact": gold_of(reference),
        "what its chain leaves out, nats": left_out,
    }
    for kl_coef in KL_COEFS:
        points = figure(evaluation, "score", f"ppo-{kl_coef}", judge="gold")
        kl = figure(evaluation, "kl", f"ppo-{kl_coef}")
        found |= {
            f"kl_coef {kl_coef}: KL": kl,
            f"kl_coef {kl_coef}: gold": points,
            f"kl_coef {kl_coef}: best gold at that KL": best_gold(reference, kl),
            f"kl_coef {kl_coef}: efficiency": efficiency(reference, points, kl),
            f"kl_coef {kl_coef}: by the chain itself": efficiency(exact, points, kl),
        }
    return found


if __name__ == "__main__":
    run_seeds("frontier", __doc__, run)
