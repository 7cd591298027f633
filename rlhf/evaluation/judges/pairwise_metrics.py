"""Metrics of judges that compare pairs: language models and annotators."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rlhf.evaluation.core.config import LOOKUP, NULL_BASELINES
from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.judges.pairwise import Pair, PairOutcome, Verdict, judge_health, make_pairs
from rlhf.evaluation.stats.bootstrap import Estimate, rate
from rlhf.evaluation.stats.length_control import length_controlled_win_rate

LLM, HUMAN = "llm", "human"


def pairs_to_judge(
    records: Sequence[Record], spec: MetricSpec, *, per_prompt: int, baselines: bool
) -> list[Pair]:
    """Pairs of each model with the baseline model.

    With `baselines` also pairs of each null baseline with the baseline model, and of each model
    with the lookup.
    """
    draw = {"per_prompt": per_prompt, "seed": spec.seed}
    pairs = make_pairs(records, spec.models, spec.baseline, **draw)
    present = {record.model for record in records}
    null_baselines = [name for name in NULL_BASELINES if baselines and name in present]
    pairs += make_pairs(records, null_baselines, spec.baseline, **draw)
    if LOOKUP in null_baselines:
        pairs += make_pairs(records, spec.models, LOOKUP, **draw)
    return pairs


def verdict_metrics(verdicts: Sequence[Verdict], spec: MetricSpec) -> list[Result]:
    """Win rates by a language model, and its health for each model.

    The health is measured on pairs of models: every judge is consistent about an empty response.
    """
    outcomes = [PairOutcome(pair=verdict.pair, win=verdict.win) for verdict in verdicts]
    results = pairwise_metrics(outcomes, LLM, spec)
    for model in spec.models:
        names = (model, spec.baseline)
        of_model = [v for v in verdicts if (v.pair.model, v.pair.baseline) == names]
        results += health_results(judge_health(of_model, **spec.bootstrap), model, LLM)
    return results


def pairwise_metrics(outcomes: Sequence[PairOutcome], kind: str, spec: MetricSpec) -> list[Result]:
    """Win rates, plain and length-controlled, with and without contaminated prompts."""
    results = _win_rates(outcomes, kind, spec)
    flags = spec.contaminated
    clean = [one for one in outcomes if flags and not flags[one.pair.prompt_index]]
    if 0 < len(clean) < len(outcomes):
        clean_results = _win_rates(clean, kind, spec)
        results += [replace(result, with_contaminated=False) for result in clean_results]
    return results


def health_results(health: Mapping[str, Estimate], model: str, kind: str) -> list[Result]:
    """One result for each rate in `health`."""
    return [result_of(estimate, metric, model, judge=kind) for metric, estimate in health.items()]


def _win_rates(outcomes: Sequence[PairOutcome], kind: str, spec: MetricSpec) -> list[Result]:
    results = []
    for model, baseline in dict.fromkeys((one.pair.model, one.pair.baseline) for one in outcomes):
        wins: dict[int, list[float]] = {}
        differences: dict[int, list[float]] = {}
        for one in outcomes:
            if (one.pair.model, one.pair.baseline) == (model, baseline):
                wins.setdefault(one.pair.prompt_index, []).append(one.win)
                length = float(len(one.pair.ours) - len(one.pair.theirs))
                differences.setdefault(one.pair.prompt_index, []).append(length)
        by_prompt = list(wins.values())
        estimates = {
            "win_rate": rate(by_prompt, **spec.bootstrap),
            "length_controlled_win_rate": length_controlled_win_rate(
                by_prompt, list(differences.values()), **spec.bootstrap
            ),
        }
        for metric, estimate in estimates.items():
            results.append(result_of(estimate, metric, model, baseline=baseline, judge=kind))
    return results
