"""Best of N of a model as a contender: what a reward is worth without any training."""

from collections.abc import Sequence
from dataclasses import replace

from rlhf.evaluation.core.metrics import Groups, Judge, MetricSpec
from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.reward_model.best_of_n import expected_of_best, kl_bound
from rlhf.evaluation.stats.bootstrap import Estimate, mean, rate
from rlhf.evaluation.stats.win_rate import prompt_wins


def best_of_name(model: str, n: int) -> str:
    """What the contender is called."""
    return f"{model} best of {n}"


def best_of_n_metrics(
    samples: Sequence[Record],
    records: Sequence[Record],
    question: MetricSpec,
    *,
    model: str,
    chooser: Judge,
    sizes: Sequence[int],
) -> list[Result]:
    """Score and win rate of the best of N by `chooser`, by every judge, and the bound of its KL.

    Exact in the draw of N from a prompt's samples, so that N well below their number has little
    noise. The bound is log N - (N - 1)/N nats, and no estimate.

    samples: many answers of the model to each prompt, judged. records: the models' ordinary
        answers; those of the baseline to the same prompts are what is to be beaten.
    """
    count = len(question.categories)
    many = by_prompt(samples, model, count)
    baseline = by_prompt(records, question.baseline, count)
    prompts = [i for i in range(count) if len(many[i]) >= max(sizes) and baseline[i]]
    clean = [i for i in prompts if question.contaminated and not question.contaminated[i]]
    found: list[Result] = []
    for n in sizes:
        name = best_of_name(model, n)
        for judge in question.judges:
            found += _judged(many, baseline, prompts, question, judge, chooser, name, n)
            if 0 < len(clean) < len(prompts):
                part = _judged(many, baseline, clean, question, judge, chooser, name, n)
                found += [replace(result, with_contaminated=False) for result in part]
        bound = kl_bound(n)
        exact = Estimate(value=bound, low=bound, high=bound, n=len(prompts))
        found.append(result_of(exact, "kl_bound", name))
    return found


def _judged(
    many: Groups,
    baseline: Groups,
    prompts: Sequence[int],
    question: MetricSpec,
    judge: Judge,
    chooser: Judge,
    name: str,
    n: int,
) -> list[Result]:
    """Win rate and score of the best of n at these prompts, by one judge."""
    wins, scores = [], []
    for i in prompts:
        choice = [record.scores[chooser.key] for record in many[i]]
        given = [record.scores[judge.key] for record in many[i]]
        theirs = [record.scores[judge.key] for record in baseline[i]]
        won = [prompt_wins([score], theirs) for score in given]
        wins.append([expected_of_best(choice, won, n)])
        scores.append([expected_of_best(choice, given, n)])
    of = {"judge": judge.kind, "judge_source": judge.source}
    how = {"seed": question.seed, "resamples": question.resamples}
    won_rate = rate(wins, **how)
    return [
        result_of(won_rate, "win_rate", name, baseline=question.baseline, **of),
        result_of(mean(scores, **how), "score", name, **of),
    ]
