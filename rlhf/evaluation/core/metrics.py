"""Metrics of records: pure functions, so that a set of responses can be evaluated again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rlhf.evaluation.core.config import LOOKUP, NULL_BASELINES
from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.core.text_metrics import text_metrics
from rlhf.evaluation.stats.bootstrap import RESAMPLES, mean, ratio
from rlhf.evaluation.stats.bradley_terry import bradley_terry
from rlhf.evaluation.stats.length_control import length_controlled_win_rate
from rlhf.evaluation.stats.win_rate import win, win_rate

# The order of metrics in tables and files; metrics that are not listed come last.
ORDER = (
    "win_rate", "length_controlled_win_rate", "bradley_terry", "score", "axis", "kl",
    "kl_per_token", "reference_loss", "length", "length_p10", "length_p50", "length_p90",
    "eos_rate", "truncation_rate",
)  # fmt: skip

Groups = Sequence[Sequence[Record]]
"""[prompts][responses] of one model."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The source of the scores under `key` of a record."""

    key: str
    kind: str  # gold, reward_model
    source: str | None = None  # its name, if there are several of a kind


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """What to compute from the records: models, baseline, judges, subsets of prompts."""

    models: Sequence[str]
    baseline: str
    judges: Sequence[Judge]
    categories: Sequence[str | None]  # of each prompt, or None
    contaminated: Sequence[bool] = ()  # of each prompt; empty if contamination was not checked
    seed: int = 0
    resamples: int = RESAMPLES

    @property
    def bootstrap(self) -> dict[str, int]:
        """Keyword arguments of the estimators in `evaluation.stats`."""
        return {"seed": self.seed, "resamples": self.resamples}


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
    return results


def _comparison(
    groups: Mapping[str, Groups], prompts: Sequence[int], spec: MetricSpec
) -> list[Result]:
    """All metrics of these prompts, with those that compare models and need many prompts."""
    chosen = _select(groups, prompts)
    results = _metrics_of_prompts(groups, prompts, spec)
    for judge in spec.judges:
        for name in chosen:
            results += _length_controlled(name, chosen, judge, spec)
        for model in spec.models if LOOKUP in chosen else ():
            results += _win_rates(model, LOOKUP, chosen, judge, spec)
        results += _strengths(chosen, judge, spec)
    return _sorted(results)


def _metrics_of_prompts(
    groups: Mapping[str, Groups], prompts: Sequence[int], spec: MetricSpec
) -> list[Result]:
    """Every model's metrics over the chosen prompts, in `ORDER`, then by model."""
    chosen = _select(groups, prompts)
    results: list[Result] = []
    for name, group in chosen.items():
        results += _judge_metrics(name, chosen, spec)
        results += _axis_metrics(name, group, spec)
        results += _kl_metrics(name, group, spec)
        results += _reference_loss(name, group, spec)
        results += text_metrics(name, group, sampled=name in spec.models, **spec.bootstrap)
    return _sorted(results)


def _select(groups: Mapping[str, Groups], prompts: Sequence[int]) -> dict[str, Groups]:
    return {name: [group[i] for i in prompts] for name, group in groups.items()}


def _sorted(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda r: ORDER.index(r.metric) if r.metric in ORDER else len(ORDER))


def _judge_metrics(model: str, chosen: Mapping[str, Groups], spec: MetricSpec) -> Iterator[Result]:
    for judge in spec.judges:
        if model != spec.baseline:
            yield from _win_rates(model, spec.baseline, chosen, judge, spec)
        estimate = mean(_scores(chosen[model], judge.key), **spec.bootstrap)
        yield result_of(estimate, "score", model, judge=judge.kind, judge_source=judge.source)


def _win_rates(
    model: str,
    baseline: str,
    chosen: Mapping[str, Groups],
    judge: Judge,
    spec: MetricSpec,
) -> Iterator[Result]:
    scores = _scores(chosen[model], judge.key)
    baseline_scores = _scores(chosen[baseline], judge.key)
    if any(len(a) and len(b) for a, b in zip(scores, baseline_scores, strict=True)):
        estimate = win_rate(scores, baseline_scores, **spec.bootstrap)
        yield result_of(
            estimate,
            "win_rate",
            model,
            baseline=baseline,
            judge=judge.kind,
            judge_source=judge.source,
        )


def _length_controlled(
    model: str, chosen: Mapping[str, Groups], judge: Judge, spec: MetricSpec
) -> Iterator[Result]:
    """The win rate at equal length, in characters: models can have different tokenizers."""
    if model == spec.baseline:
        return
    wins, differences = [], []
    for responses, others in zip(chosen[model], chosen[spec.baseline], strict=True):
        pairs = [(a, b) for a in responses for b in others]
        wins.append([win(a.scores[judge.key], b.scores[judge.key]) for a, b in pairs])
        differences.append([float(len(a.text) - len(b.text)) for a, b in pairs])
    estimate = length_controlled_win_rate(wins, differences, **spec.bootstrap)
    yield result_of(
        estimate,
        "length_controlled_win_rate",
        model,
        baseline=spec.baseline,
        judge=judge.kind,
        judge_source=judge.source,
    )


def _strengths(chosen: Mapping[str, Groups], judge: Judge, spec: MetricSpec) -> Iterator[Result]:
    """Bradley-Terry strengths of all models and null baselines."""
    names = list(chosen)
    if len(names) < 2:
        return
    scores = [_scores(chosen[name], judge.key) for name in names]
    estimates = bradley_terry(scores, **spec.bootstrap)
    for name, estimate in zip(names, estimates, strict=True):
        yield result_of(
            estimate, "bradley_terry", name, judge=judge.kind, judge_source=judge.source
        )


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


def _scores(group: Groups, key: str) -> list[list[float]]:
    return _each(group, lambda r: r.scores[key])


def _each(group: Groups, value: Callable[[Record], float]) -> list[list[float]]:
    return [[value(r) for r in responses] for responses in group]
