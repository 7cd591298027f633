"""From records to figures: pure, so that any set of answers can be evaluated again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rlhf.evaluation.bootstrap import RESAMPLES, Estimate, mean, ratio
from rlhf.evaluation.records import Record, by_prompt
from rlhf.evaluation.results import Result, result_of
from rlhf.evaluation.text_health import distinct, has_repeated_4gram, is_duplicate
from rlhf.evaluation.win_rate import win_rate

# The order in which people want to read them; what is not named here follows.
ORDER = (
    "win_rate", "score", "axis", "kl", "kl_per_token", "reference_loss", "length", "eos_rate",
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
class Question:
    """What is asked of the records."""

    models: Sequence[str]
    baseline: str
    judges: Sequence[Judge]
    categories: Sequence[str | None]  # of each prompt; None where it has none
    contaminated: Sequence[bool] = ()  # of each prompt; empty where nobody looked
    seed: int = 0
    resamples: int = RESAMPLES


def all_figures(records: Sequence[Record], question: Question) -> list[Result]:
    """Every figure of every model: over all prompts, without contaminated ones, by category.

    A category of a single prompt gets none: one prompt has no interval.
    """
    groups = {m: by_prompt(records, m, len(question.categories)) for m in question.models}
    everything = list(range(len(question.categories)))
    found = _figures(groups, everything, question)
    clean = [i for i in everything if question.contaminated and not question.contaminated[i]]
    if 0 < len(clean) < len(everything):
        part = _figures(groups, clean, question)
        found += [replace(result, with_contaminated=False) for result in part]
    for name in sorted({name for name in question.categories if name is not None}):
        chosen = [i for i in everything if question.categories[i] == name]
        if len(chosen) < 2:
            continue
        found += [replace(result, subset=name) for result in _figures(groups, chosen, question)]
    return found


def _figures(
    groups: Mapping[str, Groups], prompts: Sequence[int], question: Question
) -> list[Result]:
    """The figures of the chosen prompts, in `ORDER`, within that by model."""
    chosen = {model: [groups[model][i] for i in prompts] for model in question.models}
    found: list[Result] = []
    for model in question.models:
        found += _judged(model, chosen, question)
        found += _by_axis(model, chosen[model], question)
        found += _divergence(model, chosen[model], question)
        found += _reference_loss(model, chosen[model], question)
        found += _text(model, chosen[model], question)
    return sorted(found, key=lambda r: ORDER.index(r.metric) if r.metric in ORDER else len(ORDER))


def _judged(model: str, chosen: Mapping[str, Groups], question: Question) -> Iterator[Result]:
    baseline = question.baseline
    for judge in question.judges:
        kind, source = judge.kind, judge.source
        scores = _scores(chosen[model], judge.key)
        if model != baseline:
            against = _scores(chosen[baseline], judge.key)
            wins = win_rate(scores, against, seed=question.seed, resamples=question.resamples)
            yield result_of(
                wins, "win_rate", model, baseline=baseline, judge=kind, judge_source=source
            )
        estimate = _mean(scores, question)
        yield result_of(estimate, "score", model, judge=kind, judge_source=source)


def _by_axis(model: str, group: Groups, question: Question) -> Iterator[Result]:
    """Mean of each axis over the answers of which it says something."""
    for axis in dict.fromkeys(axis for answers in group for r in answers for axis in r.axes):
        values = [
            [value for r in answers if (value := r.axes.get(axis)) is not None] for answers in group
        ]
        if any(values):
            yield result_of(_mean(values, question), "axis", model, axis=axis, judge="gold")


def _divergence(model: str, group: Groups, question: Question) -> Iterator[Result]:
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


def _reference_loss(model: str, group: Groups, question: Question) -> Iterator[Result]:
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


def _text(model: str, group: Groups, question: Question) -> Iterator[Result]:
    texts = [[r.text for r in answers] for answers in group]
    duplicates = is_duplicate(texts)
    per_answer: tuple[tuple[str, list[list[float]]], ...] = (
        ("length", _each(group, lambda r: float(r.num_tokens))),
        ("eos_rate", _each(group, lambda r: float(r.ended_with_eos))),
        ("empty_rate", _each(group, lambda r: float(not r.text.strip()))),
        ("repetition_rate", _each(group, lambda r: float(has_repeated_4gram(r.text)))),
        ("duplicate_rate", duplicates),
    )
    for metric, values in per_answer:
        yield result_of(_mean(values, question), metric, model)
    for n in (1, 2, 3):
        yield result_of(distinct(texts, n), f"distinct_{n}", model)


def _scores(group: Groups, key: str) -> list[list[float]]:
    return _each(group, lambda r: r.scores[key])


def _each(group: Groups, of: Callable[[Record], float]) -> list[list[float]]:
    return [[of(r) for r in answers] for answers in group]


def _mean(values: Sequence[Sequence[float]], question: Question) -> Estimate:
    return mean(values, seed=question.seed, resamples=question.resamples)
