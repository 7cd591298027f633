"""Metrics of records: pure functions, so that a set of responses can be evaluated again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from rlhf.evaluation.core.config import LOOKUP, NULL_BASELINES
from rlhf.evaluation.core.metric_spec import Groups, Judge, MetricSpec
from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.core.text_metrics import text_metrics
from rlhf.evaluation.core.win_rates import (
    compare_categories,
    judge_metrics,
    length_metrics,
    strengths,
    win_rates,
)
from rlhf.evaluation.stats.bootstrap import mean, ratio

__all__ = ["Groups", "Judge", "MetricSpec", "all_metrics"]

# The order of metrics in tables and files; metrics that are not listed come last.
ORDER = (
    "win_rate", "win_rate_worst_category", "length_controlled_win_rate", "equal_length_win_rate",
    "bradley_terry", "score", "axis", "kl", "kl_per_token", "reference_loss", "length",
    "length_p10", "length_p50", "length_p90", "eos_rate", "truncation_rate",
)  # fmt: skip


def all_metrics(records: Sequence[Record], spec: MetricSpec) -> list[Result]:
    """Every metric of every model: over all prompts, without contaminated ones, by category.

    Null baselines among the records get the same metrics as the models, except for those that
    only sampled responses have (KL, loss under the reference, `ONLY_SAMPLED`). A category of a
    single prompt is left out: one prompt has no interval.
    """
    present = {record.model for record in records}
    names = [*spec.models, *(name for name in NULL_BASELINES if name in present)]
    groups = {name: by_prompt(records, name, len(spec.categories)) for name in names}
    prompts = list(range(len(spec.categories)))
    results = _comparison(groups, prompts, spec)
    clean = [i for i in prompts if spec.contaminated and not spec.contaminated[i]]
    if 0 < len(clean) < len(prompts):
        clean_results = _comparison(groups, clean, spec)
        results += [replace(result, with_contaminated=False) for result in clean_results]
    for category in sorted({name for name in spec.categories if name is not None}):
        chosen = [i for i in prompts if spec.categories[i] == category]
        if len(chosen) > 1:
            subset = _metrics_of_prompts(groups, chosen, spec)
            results += [replace(result, subset=category) for result in subset]
    return compare_categories(results, groups, spec)


def _comparison(
    groups: Mapping[str, Groups], prompts: Sequence[int], spec: MetricSpec
) -> list[Result]:
    """All metrics of these prompts, with those that compare models and need many prompts."""
    chosen = _select(groups, prompts)
    results = _metrics_of_prompts(groups, prompts, spec)
    for judge in spec.judges:
        results += length_metrics(chosen, judge, spec)
        for model in spec.models if LOOKUP in chosen else ():
            results += win_rates(model, LOOKUP, chosen, judge, spec)
        results += strengths(chosen, judge, spec)
    return _sorted(results)


def _metrics_of_prompts(
    groups: Mapping[str, Groups], prompts: Sequence[int], spec: MetricSpec
) -> list[Result]:
    """Every model's metrics over the chosen prompts, in `ORDER`, then by model."""
    chosen = _select(groups, prompts)
    results: list[Result] = []
    for name, group in chosen.items():
        results += judge_metrics(name, chosen, spec)
        results += _axis_metrics(name, group, spec)
        results += _kl_metrics(name, group, spec)
        results += _reference_loss(name, group, spec)
        results += text_metrics(name, group, sampled=name in spec.models, **spec.bootstrap)
    return _sorted(results)


def _select(groups: Mapping[str, Groups], prompts: Sequence[int]) -> dict[str, Groups]:
    return {name: [group[i] for i in prompts] for name, group in groups.items()}


def _sorted(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda r: ORDER.index(r.metric) if r.metric in ORDER else len(ORDER))


def _axis_metrics(model: str, group: Groups, spec: MetricSpec) -> Iterator[Result]:
    """Mean of each axis over the responses that have a score on it."""
    for axis in dict.fromkeys(axis for responses in group for r in responses for axis in r.axes):
        values = [
            [value for r in responses if (value := r.axes.get(axis)) is not None]
            for responses in group
        ]
        if any(values):
            estimate = mean(values, **spec.bootstrap)
            yield result_of(estimate, "axis", model, axis=axis, judge="gold")


def _kl_metrics(model: str, group: Groups, spec: MetricSpec) -> Iterator[Result]:
    """KL(model || reference) on the model's samples, in nats per response and per token.

    It covers responses up to max_completion_length; what would follow is not counted.
    """
    measured = [[r for r in responses if r.kl is not None] for responses in group]
    if not any(measured):
        return
    nats = [sum(r.kl for r in responses if r.kl is not None) for responses in measured]
    for metric, counts in (
        ("kl", [float(len(responses)) for responses in measured]),
        ("kl_per_token", [float(sum(r.num_tokens for r in responses)) for responses in measured]),
    ):
        yield result_of(ratio(nats, counts, **spec.bootstrap), metric, model)


def _reference_loss(model: str, group: Groups, spec: MetricSpec) -> Iterator[Result]:
    """Nats per token of the model's responses under the reference, at temperature 1.

    The reference's own value is its entropy. A value far above it means text that is unlikely
    under the reference; a value far below it means text that is unusually likely.
    """
    measured = [[r for r in responses if r.reference_nll is not None] for responses in group]
    if not any(measured):
        return
    nats = [
        sum(r.reference_nll for r in responses if r.reference_nll is not None)
        for responses in measured
    ]
    tokens = [float(sum(r.num_tokens for r in responses)) for responses in measured]
    yield result_of(ratio(nats, tokens, **spec.bootstrap), "reference_loss", model)


def _each(group: Groups, value: Callable[[Record], float]) -> list[list[float]]:
    return [[value(r) for r in responses] for responses in group]
