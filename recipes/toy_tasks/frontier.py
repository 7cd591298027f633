"""Exact frontier: which share of the best possible gain at its KL does a policy reach?

    python recipes/toy_tasks/frontier.py --seeds 0 1 2 3 4 5 6 7 8 9

The gold score is a sum over the symbols of a Markov chain, so the best gold score at a given KL
follows by recursion. SFT, a reward model trained on 2,000 noisy pairs, and PPO at three values of
`kl_coef` are compared with it, using the metrics of recipes/evaluate.py.

The KL is measured from the SFT model. The frontier therefore uses a chain of the probabilities of
that model at each step. The chain that generated the demonstrations has another frontier: a policy
can be above or below it without being better or worse. Its efficiency is printed as well.
"""

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.exact.best import best_gold, efficiency, gold_of_reference  # noqa: E402
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
from recipes.toy_tasks.stage_runs import (  # noqa: E402
    Metrics,
    metric_value,
    read_responses,
    run_parallel,
    run_seeds,
)

KL_COEFS = (0.1, 0.3, 1.0)


def run(folder: Path, seed: int, jobs: int) -> Metrics:
    """Run all stages in one world; returns its metrics."""
    make_sft(folder, seed)
    reward_model = make_reward_model(folder, "reward_model", seed, labels=2000)
    policies = run_parallel(
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
    return efficiency_metrics(folder, evaluation, seed)


def efficiency_metrics(folder: Path, evaluation: Path, world: int) -> Metrics:
    """Gold score, KL and efficiency at each kl_coef."""
    chain, rows = chain_of(world), read_responses(evaluation, "sft")
    prompts = [row["prompt"] for row in rows]
    reference, residual_kl = reference_of_model(
        folder / "sft", chain, prompts, [row["text"] for row in rows]
    )
    exact = reference_of_chain(chain, starts(prompts))
    metrics: Metrics = {
        "gold of the reference, sampled": metric_value(evaluation, "score", "sft", judge="gold"),
        "gold of the reference, exact": gold_of_reference(reference),
        "what its chain leaves out, nats": residual_kl,
    }
    for kl_coef in KL_COEFS:
        score = metric_value(evaluation, "score", f"ppo-{kl_coef}", judge="gold")
        kl = metric_value(evaluation, "kl", f"ppo-{kl_coef}")
        metrics |= {
            f"kl_coef {kl_coef}: KL": kl,
            f"kl_coef {kl_coef}: gold": score,
            f"kl_coef {kl_coef}: best gold at that KL": best_gold(reference, kl),
            f"kl_coef {kl_coef}: efficiency": efficiency(reference, score, kl),
            f"kl_coef {kl_coef}: by the chain itself": efficiency(exact, score, kl),
        }
    return metrics


if __name__ == "__main__":
    run_seeds("frontier", __doc__, run)
