"""Figures of judges that compare: language models and people."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rlhf.evaluation.core.config import LOOKUP, NULLS
from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.judges.pairwise import Compared, Pair, Verdict, health_of_judge, make_pairs
from rlhf.evaluation.stats.bootstrap import Estimate, rate
from rlhf.evaluation.stats.length_control import length_controlled_win_rate

LLM, HUMAN = "llm", "human"


def pairs_of(
    records: Sequence[Record], question: MetricSpec, *, per_prompt: int, baselines: bool
) -> list[Pair]:
    """Pairs of each model with the baseline.

    baselines: of each null baseline with it too, and of each model with the lookup.
    """
    how = {"per_prompt": per_prompt, "seed": question.seed}
    pairs = make_pairs(records, question.models, question.baseline, **how)
    present = {record.model for record in records}
    nulls = [name for name in NULLS if baselines and name in present]
    pairs += make_pairs(records, nulls, question.baseline, **how)
    if LOOKUP in nulls:
        pairs += make_pairs(records, question.models, LOOKUP, **how)
    return pairs


def verdict_metrics(verdicts: Sequence[Verdict], question: MetricSpec) -> list[Result]:
    """Win rates by a language model, and how far it is to be trusted, model by model.

    Its health is that of pairs of models: against an empty answer every judge agrees with itself.
    """
    found = pairwise_metrics(
        [Compared(pair=verdict.pair, win=verdict.win) for verdict in verdicts], LLM, question
    )
    for model in question.models:
        asked = (model, question.baseline)
        of_model = [v for v in verdicts if (v.pair.model, v.pair.baseline) == asked]
        health = health_of_judge(of_model, seed=question.seed, resamples=question.resamples)
        found += as_results(health, model, LLM)
    return found


def pairwise_metrics(compared: Sequence[Compared], kind: str, question: MetricSpec) -> list[Result]:
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


def _win_rates(compared: Sequence[Compared], kind: str, question: MetricSpec) -> list[Result]:
    found = []
    how = {"seed": question.seed, "resamples": question.resamples}
    for model, baseline in dict.fromkeys((c.pair.model, c.pair.baseline) for c in compared):
        wins: dict[int, list[float]] = {}
        differences: dict[int, list[float]] = {}
        for one in compared:
            if (one.pair.model, one.pair.baseline) == (model, baseline):
                wins.setdefault(one.pair.prompt_index, []).append(one.win)
                length = float(len(one.pair.ours) - len(one.pair.theirs))
                differences.setdefault(one.pair.prompt_index, []).append(length)
        won, apart = list(wins.values()), list(differences.values())
        estimates = {
            "win_rate": rate(won, **how),
            "length_controlled_win_rate": length_controlled_win_rate(won, apart, **how),
        }
        for metric, estimate in estimates.items():
            found.append(result_of(estimate, metric, model, baseline=baseline, judge=kind))
    return found
