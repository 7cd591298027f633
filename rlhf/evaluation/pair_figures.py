"""Figures of judges that compare: language models and people."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rlhf.evaluation.bootstrap import Estimate, mean
from rlhf.evaluation.figures import Question
from rlhf.evaluation.length_control import length_controlled_win_rate
from rlhf.evaluation.pairwise import Compared, Verdict, health_of_judge
from rlhf.evaluation.results import Result, result_of

LLM, HUMAN = "llm", "human"


def figures_of_verdicts(verdicts: Sequence[Verdict], question: Question) -> list[Result]:
    """Win rates by a language model, and how far it is to be trusted, model by model."""
    found = compared_figures(
        [Compared(pair=verdict.pair, win=verdict.win) for verdict in verdicts], LLM, question
    )
    for model in question.models:
        of_model = [verdict for verdict in verdicts if verdict.pair.model == model]
        health = health_of_judge(of_model, seed=question.seed, resamples=question.resamples)
        found += as_results(health, model, LLM)
    return found


def compared_figures(compared: Sequence[Compared], kind: str, question: Question) -> list[Result]:
    """Win rates, plain and at equal length, with and without contaminated prompts."""
    found = _win_rates(compared, kind, question)
    leaked = question.contaminated
    clean = [one for one in compared if leaked and not leaked[one.pair.prompt_index]]
    if 0 < len(clean) < len(compared):
        without = _win_rates(clean, kind, question)
        found += [replace(result, with_contaminated=False) for result in without]
    return found


def as_results(shares: Mapping[str, Estimate], model: str, kind: str) -> list[Result]:
    """One figure each."""
    return [result_of(share, metric, model, judge=kind) for metric, share in shares.items()]


def _win_rates(compared: Sequence[Compared], kind: str, question: Question) -> list[Result]:
    found = []
    how = {"seed": question.seed, "resamples": question.resamples}
    for model in question.models:
        wins: dict[int, list[float]] = {}
        differences: dict[int, list[float]] = {}
        for one in compared:
            if one.pair.model == model:
                wins.setdefault(one.pair.prompt_index, []).append(one.win)
                length = float(len(one.pair.ours) - len(one.pair.theirs))
                differences.setdefault(one.pair.prompt_index, []).append(length)
        if not wins:
            continue
        won, apart = list(wins.values()), list(differences.values())
        estimates = {
            "win_rate": mean(won, **how),
            "length_controlled_win_rate": length_controlled_win_rate(won, apart, **how),
        }
        for metric, estimate in estimates.items():
            found.append(result_of(estimate, metric, model, baseline=question.baseline, judge=kind))
    return found
