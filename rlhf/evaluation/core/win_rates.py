"""Metrics by judges that score: win rates, at equal length, by category, and strengths."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rlhf.evaluation.core.metric_spec import Groups, Judge, MetricSpec
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.stats.bootstrap import Estimate, mean
from rlhf.evaluation.stats.bradley_terry import bradley_terry
from rlhf.evaluation.stats.equal_length import equal_length_win_rate
from rlhf.evaluation.stats.length_control import (
    length_controlled_win_rate,
    length_controlled_win_rates,
)
from rlhf.evaluation.stats.parts import Case, Part, compare_parts, worst_part
from rlhf.evaluation.stats.win_rate import prompt_wins, win, win_rate

WORST_CATEGORY = "win_rate_worst_category"


@dataclass(frozen=True)
class Compared:
    """The comparisons of a model with the baseline, [prompts][pairs] each."""

    wins: list[list[float]] = field(default_factory=list)
    differences: list[list[float]] = field(default_factory=list)  # of the lengths in characters
    baseline_lengths: list[list[float]] = field(default_factory=list)


def judge_metrics(model: str, chosen: Mapping[str, Groups], spec: MetricSpec) -> Iterator[Result]:
    """The model's win rate against the baseline and its mean score, by every judge."""
    for judge in spec.judges:
        if model != spec.baseline:
            yield from win_rates(model, spec.baseline, chosen, judge, spec)
        estimate = mean(_scores(chosen[model], judge.key), **spec.bootstrap)
        yield result_of(estimate, "score", model, judge=judge.kind, judge_source=judge.source)


def win_rates(
    model: str,
    baseline: str,
    chosen: Mapping[str, Groups],
    judge: Judge,
    spec: MetricSpec,
) -> Iterator[Result]:
    """The win rate of a model against another; nothing if no prompt has responses of both."""
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


def length_metrics(
    chosen: Mapping[str, Groups], judge: Judge, spec: MetricSpec
) -> Iterator[Result]:
    """Win rates without the effect of length, in characters: models can have other tokenizers."""
    pairs = {
        name: _compared(group, chosen[spec.baseline], judge.key)
        for name, group in chosen.items()
        if name != spec.baseline
    }
    fields = {"baseline": spec.baseline, "judge": judge.kind, "judge_source": judge.source}
    for name, estimate in controlled_win_rates(pairs, spec).items():
        yield result_of(estimate, "length_controlled_win_rate", name, **fields)
    for name, compared in pairs.items():
        estimate = equal_length_win_rate(compared.wins, compared.differences, **spec.bootstrap)
        yield result_of(estimate, "equal_length_win_rate", name, **fields)


def controlled_win_rates(pairs: Mapping[str, Compared], spec: MetricSpec) -> dict[str, Estimate]:
    """Length-controlled win rates by name; difficulty comes from the models, not null baselines."""
    models = [name for name in pairs if name in spec.models]
    together = length_controlled_win_rates(
        [pairs[name].wins for name in models],
        [pairs[name].differences for name in models],
        [pairs[name].baseline_lengths for name in models],
        **spec.bootstrap,
    )
    rates = dict(zip(models, together, strict=True))
    for name, one in pairs.items():
        if name not in rates:
            rates[name] = controlled_win_rate(one, spec)
    return {name: rates[name] for name in pairs}


def controlled_win_rate(compared: Compared, spec: MetricSpec) -> Estimate:
    """The length-controlled win rate of one model by itself."""
    return length_controlled_win_rate(
        compared.wins,
        compared.differences,
        compared.baseline_lengths,
        seed=spec.seed,
        resamples=spec.resamples,
    )


def _compared(group: Groups, others: Groups, key: str) -> Compared:
    compared = Compared()
    for responses, baseline in zip(group, others, strict=True):
        pairs = [(a, b) for a in responses for b in baseline]
        compared.wins.append([win(a.scores[key], b.scores[key]) for a, b in pairs])
        compared.differences.append([float(len(a.text) - len(b.text)) for a, b in pairs])
        compared.baseline_lengths.append([float(len(b.text)) for _, b in pairs])
    return compared


def strengths(chosen: Mapping[str, Groups], judge: Judge, spec: MetricSpec) -> Iterator[Result]:
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


def compare_categories(
    results: Sequence[Result], groups: Mapping[str, Groups], spec: MetricSpec
) -> list[Result]:
    """The results with q at the win rates by category, and the worst category of each model.

    groups: [prompts][responses] of each model.
    """
    compared = list(results)
    for judge in spec.judges:
        fields = {"baseline": spec.baseline, "judge": judge.kind, "judge_source": judge.source}
        for model in spec.models:
            if model != spec.baseline:
                cases = _category_cases(groups[model], groups[spec.baseline], judge.key, spec)
                parts = compare_parts(cases)
                compared = with_q(compared, parts, "win_rate", model, **fields)
                if (worst := worst_part(parts)) is not None:
                    compared.append(part_result(worst, WORST_CATEGORY, model, **fields))
    return compared


def with_q(
    results: Sequence[Result],
    parts: Sequence[Part],
    metric: str,
    model: str,
    *,
    baseline: str | None = None,
    judge: str | None = None,
    judge_source: str | None = None,
) -> list[Result]:
    """The results with q at those of this metric, model and judge whose subset is a part."""
    q = {part.name: part.q for part in parts}
    fields = (metric, model, baseline, judge, judge_source)
    return [
        replace(one, q=q[one.subset])
        if one.subset in q
        and (one.metric, one.model, one.baseline, one.judge, one.judge_source) == fields
        else one
        for one in results
    ]


def part_result(
    part: Part,
    metric: str,
    model: str,
    *,
    baseline: str | None = None,
    judge: str | None = None,
    judge_source: str | None = None,
) -> Result:
    """The part's mean as a result with the part's name and q."""
    result = result_of(
        part.estimate, metric, model, baseline=baseline, judge=judge, judge_source=judge_source
    )
    return replace(result, subset=part.name, q=part.q)


def _category_cases(group: Groups, baseline: Groups, key: str, spec: MetricSpec) -> Iterator[Case]:
    """Prompt, category and the prompt's win rate."""
    for i, category in enumerate(spec.categories):
        scores = [record.scores[key] for record in group[i]]
        others = [record.scores[key] for record in baseline[i]]
        if category is not None and scores and others:
            yield str(i), category, prompt_wins(scores, others)


def _scores(group: Groups, key: str) -> list[list[float]]:
    return [[record.scores[key] for record in responses] for responses in group]
