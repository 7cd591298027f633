"""Metrics of judges that compare pairs: language models and annotators."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rlhf.evaluation.core.config import LOOKUP, NULL_BASELINES
from rlhf.evaluation.core.metric_spec import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.core.win_rates import (
    WORST_CATEGORY,
    Compared,
    controlled_win_rate,
    controlled_win_rates,
    part_result,
)
from rlhf.evaluation.judges.pairwise import Pair, PairOutcome, Verdict, judge_health, make_pairs
from rlhf.evaluation.stats.bootstrap import Estimate, rate
from rlhf.evaluation.stats.equal_length import equal_length_win_rate
from rlhf.evaluation.stats.parts import Case, compare_parts, worst_part

LLM = "llm"


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
        of_model = [v for v in verdicts if names_of(v.pair) == names]
        results += health_results(judge_health(of_model, **spec.bootstrap), model, LLM)
    return results


def pairwise_metrics(outcomes: Sequence[PairOutcome], kind: str, spec: MetricSpec) -> list[Result]:
    """Win rates, plain and length-controlled, with and without contaminated prompts.

    The models' win rates are also given by category of the prompts.
    """
    results = _win_rates(outcomes, kind, spec)
    flags = spec.contaminated
    clean = [one for one in outcomes if flags and not flags[one.pair.prompt_index]]
    if 0 < len(clean) < len(outcomes):
        clean_results = _win_rates(clean, kind, spec)
        results += [replace(result, with_contaminated=False) for result in clean_results]
    for model in spec.models:
        own = [one for one in outcomes if names_of(one.pair) == (model, spec.baseline)]
        results += _by_category(own, model, kind, spec)
    return results


def names_of(pair: Pair) -> tuple[str, str]:
    """The model and the baseline of a pair."""
    return pair.model, pair.baseline


def health_results(health: Mapping[str, Estimate], model: str, kind: str) -> list[Result]:
    """One result for each rate in `health`."""
    return [result_of(estimate, metric, model, judge=kind) for metric, estimate in health.items()]


def _win_rates(outcomes: Sequence[PairOutcome], kind: str, spec: MetricSpec) -> list[Result]:
    pairs = {
        names: _compared([one for one in outcomes if names_of(one.pair) == names], spec)
        for names in dict.fromkeys(names_of(one.pair) for one in outcomes)
    }
    against = {model: each for (model, other), each in pairs.items() if other == spec.baseline}
    controlled = controlled_win_rates(against, spec)
    results = []
    for (model, baseline), compared in pairs.items():
        wins, differences = compared.wins, compared.differences
        estimates = {"win_rate": rate(wins, **spec.bootstrap)}
        estimates["length_controlled_win_rate"] = (
            controlled[model] if baseline == spec.baseline else controlled_win_rate(compared, spec)
        )
        estimates["equal_length_win_rate"] = equal_length_win_rate(
            wins, differences, **spec.bootstrap
        )
        for metric, estimate in estimates.items():
            results.append(result_of(estimate, metric, model, baseline=baseline, judge=kind))
    return results


def _compared(outcomes: Sequence[PairOutcome], spec: MetricSpec) -> Compared:
    """The comparisons of one model, by prompt; prompts without one are empty."""
    compared = Compared()
    for groups in (compared.wins, compared.differences, compared.baseline_lengths):
        groups.extend([] for _ in spec.categories)
    for one in outcomes:
        index = one.pair.prompt_index
        compared.wins[index].append(one.win)
        compared.differences[index].append(float(len(one.pair.ours) - len(one.pair.theirs)))
        compared.baseline_lengths[index].append(float(len(one.pair.theirs)))
    return compared


def _by_category(
    outcomes: Sequence[PairOutcome], model: str, kind: str, spec: MetricSpec
) -> list[Result]:
    """The win rate at the prompts of each category, and the worst one."""
    cases = [
        (str(one.pair.prompt_index), category, one.win)
        for one in outcomes
        if (category := spec.categories[one.pair.prompt_index]) is not None
    ]
    return part_results(cases, WORST_CATEGORY, model, kind, spec)


def part_results(
    cases: Sequence[Case], worst: str, model: str, kind: str, spec: MetricSpec
) -> list[Result]:
    """The win rate of each part, with q, and the worst one.

    Args:
        cases: prompt, name of the part, and win.
        worst: metric name of the worst part.
        model: whose wins they are.
        kind: of judge.
        spec: the baseline.
    """
    parts, fields = compare_parts(cases), {"baseline": spec.baseline, "judge": kind}
    results = [part_result(part, "win_rate", model, **fields) for part in parts]
    lowest = worst_part(parts)
    return [*results, part_result(lowest, worst, model, **fields)] if lowest else results
