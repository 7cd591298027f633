"""From records to figures: pure, so that any set of answers can be evaluated again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rlhf.evaluation.core.config import LOOKUP, NULLS
from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.core.text_metrics import text_metrics
from rlhf.evaluation.stats.bootstrap import RESAMPLES, Estimate, mean, ratio
from rlhf.evaluation.stats.bradley_terry import bradley_terry
from rlhf.evaluation.stats.length_control import length_controlled_win_rate
from rlhf.evaluation.stats.win_rate import win, win_rate

# The order in which people want to read them; what is not named here follows.
ORDER = (
    "win_rate", "length_controlled_win_rate", "bradley_terry", "score", "axis", "kl",
    "kl_per_token", "reference_loss", "length", "length_p10", "length_p50", "length_p90",
    "eos_rate", "truncation_rate",
)  # fmt: skip

Groups = Sequence[Sequence[Record]]
"""Per prompt, the answers of one model."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who gave the scores under `key` of a record."""

    key: str
    kind: str  # gold, reward_model
    source: str | None = None  # its name, where there are several of a kind


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """What is asked of the records."""

    models: Sequence[str]
    baseline: str
    judges: Sequence[Judge]
    categories: Sequence[str | None]  # of each prompt; None where it has none
    contaminated: Sequence[bool] = ()  # of each prompt; empty where nobody looked
    seed: int = 0
    resamples: int = RESAMPLES


def all_metrics(records: Sequence[Record], question: MetricSpec) -> list[Result]:
    """Every figure of every model: over all prompts, without contaminated ones, by category.

    Null baselines among the records get what the models get, but for what only a sampled answer
    has (KL, loss under the reference, `OF_SAMPLES`). A category of a single prompt gets none: one
    prompt has no interval.
    """
    present = {record.model for record in records}
    names = [*question.models, *(name for name in NULLS if name in present)]
    groups = {name: by_prompt(records, name, len(question.categories)) for name in names}
    everything = list(range(len(question.categories)))
    found = _whole(groups, everything, question)
    clean = [i for i in everything if question.contaminated and not question.contaminated[i]]
    if 0 < len(clean) < len(everything):
        part = _whole(groups, clean, question)
        found += [replace(result, with_contaminated=False) for result in part]
    for name in sorted({name for name in question.categories if name is not None}):
        chosen = [i for i in everything if question.categories[i] == name]
        if len(chosen) < 2:
            continue
        found += [replace(result, subset=name) for result in _figures(groups, chosen, question)]
    return found


def _whole(
    groups: Mapping[str, Groups], prompts: Sequence[int], question: MetricSpec
) -> list[Result]:
    """The figures of a set that is large enough to compare models in every way."""
    chosen = {name: [group[i] for i in prompts] for name, group in groups.items()}
    found = _figures(groups, prompts, question)
    for judge in question.judges:
        for name in chosen:
            found += _length_controlled(name, chosen, judge, question)
        for model in question.models if LOOKUP in chosen else ():
            found += _wins(model, LOOKUP, chosen, judge, question)
        found += _ranked(chosen, judge, question)
    return _in_order(found)


def _figures(
    groups: Mapping[str, Groups], prompts: Sequence[int], question: MetricSpec
) -> list[Result]:
    """Everybody's figures of the chosen prompts, in `ORDER`, within that by model."""
    chosen = {name: [group[i] for i in prompts] for name, group in groups.items()}
    found: list[Result] = []
    for name, group in chosen.items():
        found += _judged(name, chosen, question)
        found += _by_axis(name, group, question)
        found += _divergence(name, group, question)
        found += _reference_loss(name, group, question)
        found += text_metrics(
            name,
            group,
            sampled=name in question.models,
            seed=question.seed,
            resamples=question.resamples,
        )
    return _in_order(found)


def _in_order(found: Sequence[Result]) -> list[Result]:
    return sorted(found, key=lambda r: ORDER.index(r.metric) if r.metric in ORDER else len(ORDER))


def _judged(model: str, chosen: Mapping[str, Groups], question: MetricSpec) -> Iterator[Result]:
    for judge in question.judges:
        if model != question.baseline:
            yield from _wins(model, question.baseline, chosen, judge, question)
        estimate = _mean(_scores(chosen[model], judge.key), question)
        yield result_of(estimate, "score", model, judge=judge.kind, judge_source=judge.source)


def _wins(
    model: str,
    baseline: str,
    chosen: Mapping[str, Groups],
    judge: Judge,
    question: MetricSpec,
) -> Iterator[Result]:
    ours, theirs = _scores(chosen[model], judge.key), _scores(chosen[baseline], judge.key)
    if any(len(a) and len(b) for a, b in zip(ours, theirs, strict=True)):
        wins = win_rate(ours, theirs, seed=question.seed, resamples=question.resamples)
        yield result_of(
            wins, "win_rate", model, baseline=baseline, judge=judge.kind, judge_source=judge.source
        )


def _length_controlled(
    model: str, chosen: Mapping[str, Groups], judge: Judge, question: MetricSpec
) -> Iterator[Result]:
    """The win rate at equal length, in characters: models have different tokens."""
    if model == question.baseline:
        return
    wins, differences = [], []
    for ours, theirs in zip(chosen[model], chosen[question.baseline], strict=True):
        pairs = [(a, b) for a in ours for b in theirs]
        wins.append([win(a.scores[judge.key], b.scores[judge.key]) for a, b in pairs])
        differences.append([float(len(a.text) - len(b.text)) for a, b in pairs])
    estimate = length_controlled_win_rate(
        wins, differences, seed=question.seed, resamples=question.resamples
    )
    yield result_of(
        estimate,
        "length_controlled_win_rate",
        model,
        baseline=question.baseline,
        judge=judge.kind,
        judge_source=judge.source,
    )


def _ranked(chosen: Mapping[str, Groups], judge: Judge, question: MetricSpec) -> Iterator[Result]:
    """Bradley-Terry strengths of everything that answered."""
    names = list(chosen)
    if len(names) < 2:
        return
    scores = [_scores(chosen[name], judge.key) for name in names]
    found = bradley_terry(scores, seed=question.seed, resamples=question.resamples)
    for name, estimate in zip(names, found, strict=True):
        yield result_of(
            estimate, "bradley_terry", name, judge=judge.kind, judge_source=judge.source
        )


def _by_axis(model: str, group: Groups, question: MetricSpec) -> Iterator[Result]:
    """Mean of each axis over the answers of which it says something."""
    for axis in dict.fromkeys(axis for answers in group for r in answers for axis in r.axes):
        values = [
            [value for r in answers if (value := r.axes.get(axis)) is not None] for answers in group
        ]
        if any(values):
            yield result_of(_mean(values, question), "axis", model, axis=axis, judge="gold")


def _divergence(model: str, group: Groups, question: MetricSpec) -> Iterator[Result]:
    """KL(model || reference) of its own samples, nats per answer and per token.

    Answers are those of at most max_completion_length tokens: what is cut off counts no further.
    """
    kept = [[r for r in answers if r.kl is not None] for answers in group]
    if not any(kept):
        return
    nats = [sum(r.kl for r in answers if r.kl is not None) for answers in kept]
    for metric, counts in (
        ("kl", [float(len(answers)) for answers in kept]),
        ("kl_per_token", [float(sum(r.num_tokens for r in answers)) for answers in kept]),
    ):
        estimate = ratio(nats, counts, seed=question.seed, resamples=question.resamples)
        yield result_of(estimate, metric, model)


def _reference_loss(model: str, group: Groups, question: MetricSpec) -> Iterator[Result]:
    """Nats per token of the model's own answers under the reference, at temperature 1.

    The reference's own is its entropy: far above it the answers are no longer text as the
    reference knows it, far below it they are of its most usual.
    """
    kept = [[r for r in answers if r.reference_nll is not None] for answers in group]
    if not any(kept):
        return
    nats = [
        sum(r.reference_nll for r in answers if r.reference_nll is not None) for answers in kept
    ]
    tokens = [float(sum(r.num_tokens for r in answers)) for answers in kept]
    estimate = ratio(nats, tokens, seed=question.seed, resamples=question.resamples)
    yield result_of(estimate, "reference_loss", model)


def _scores(group: Groups, key: str) -> list[list[float]]:
    return _each(group, lambda r: r.scores[key])


def _each(group: Groups, of: Callable[[Record], float]) -> list[list[float]]:
    return [[of(r) for r in answers] for answers in group]


def _mean(values: Sequence[Sequence[float]], question: MetricSpec) -> Estimate:
    return mean(values, seed=question.seed, resamples=question.resamples)
