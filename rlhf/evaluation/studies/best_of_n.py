"""Best-of-N sampling of a model: the gain from a reward without training."""

from collections.abc import Sequence
from dataclasses import replace

from rlhf.evaluation.core.metrics import Judge, MetricSpec
from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.reward_model.best_of_n import expected_of_best, kl_bound
from rlhf.evaluation.stats.bootstrap import Estimate, mean, rate
from rlhf.evaluation.stats.win_rate import prompt_wins


def best_of_name(model: str, n: int) -> str:
    """The name of the model with best-of-n sampling."""
    return f"{model} best of {n}"


def best_of_n_metrics(
    samples: Sequence[Record],
    records: Sequence[Record],
    spec: MetricSpec,
    *,
    model: str,
    chooser: Judge,
    sizes: Sequence[int],
) -> list[Result]:
    """Score and win rate of the best of N by `chooser`, for every judge, and a bound on its KL.

    The expectation over the draw of N from a prompt's samples is exact, so an N well below their
    number has little noise. The KL is at most log N - (N - 1)/N nats; this is not an estimate.

    Args:
        samples: many scored responses of the model to each prompt.
        records: the other responses; those of the baseline are the opponents.
        spec: baseline, judges and prompts.
        model: name of the sampled model.
        chooser: the reward model that selects the best response.
        sizes: the values of N.
    """
    count = len(spec.categories)
    many = by_prompt(samples, model, count)
    baseline = by_prompt(records, spec.baseline, count)
    prompts = [i for i in range(count) if len(many[i]) >= max(sizes) and baseline[i]]
    clean = [i for i in prompts if spec.contaminated and not spec.contaminated[i]]

    def judged(chosen: Sequence[int], judge: Judge, name: str, n: int) -> list[Result]:
        """Win rate and score of the best of n at the chosen prompts, by one judge."""
        wins, scores = [], []
        for i in chosen:
            proxy = [record.scores[chooser.key] for record in many[i]]
            values = [record.scores[judge.key] for record in many[i]]
            opponents = [record.scores[judge.key] for record in baseline[i]]
            win_shares = [prompt_wins([value], opponents) for value in values]
            wins.append([expected_of_best(proxy, win_shares, n)])
            scores.append([expected_of_best(proxy, values, n)])
        fields = {"judge": judge.kind, "judge_source": judge.source}
        won = rate(wins, **spec.bootstrap)
        return [
            result_of(won, "win_rate", name, baseline=spec.baseline, **fields),
            result_of(mean(scores, **spec.bootstrap), "score", name, **fields),
        ]

    results: list[Result] = []
    for n in sizes:
        name = best_of_name(model, n)
        for judge in spec.judges:
            results += judged(prompts, judge, name, n)
            if 0 < len(clean) < len(prompts):
                part = judged(clean, judge, name, n)
                results += [replace(result, with_contaminated=False) for result in part]
        bound = kl_bound(n)
        exact = Estimate(value=bound, low=bound, high=bound, n=len(prompts))
        results.append(result_of(exact, "kl_bound", name))
    return results
