"""Lengths, endings, loops and diversity of one model's answers as figures."""

from collections.abc import Callable, Iterator, Sequence

from rlhf.evaluation.core.diversity import (
    distinct,
    has_repeated_4gram,
    is_duplicate,
    quantile,
    self_bleu,
)
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.stats.bootstrap import mean, rate

QUANTILES = {"length_p10": 0.1, "length_p50": 0.5, "length_p90": 0.9}
# Of answers that nobody sampled these mean nothing: they end by definition, and being one a
# prompt they hold fewer n-grams than a model's several.
OF_SAMPLES = ("eos_rate", "truncation_rate", "distinct_1", "distinct_2", "distinct_3")


def text_metrics(
    model: str,
    group: Sequence[Sequence[Record]],
    *,
    sampled: bool,
    seed: int,
    resamples: int,
) -> list[Result]:
    """The figures of `group`, answers per prompt; without `OF_SAMPLES` where nobody sampled."""
    found = _every(model, group, seed, resamples)
    return [result for result in found if sampled or result.metric not in OF_SAMPLES]


def _every(
    model: str, group: Sequence[Sequence[Record]], seed: int, resamples: int
) -> Iterator[Result]:
    how = {"seed": seed, "resamples": resamples}
    texts = [[r.text for r in answers] for answers in group]
    lengths = _each(group, lambda r: float(r.num_tokens))
    yield result_of(mean(lengths, **how), "length", model)
    if any(record.thought_tokens for answers in group for record in answers):
        thoughts = _each(group, lambda r: float(r.thought_tokens))
        yield result_of(mean(thoughts, **how), "thought_length", model)
    rates = {
        "eos_rate": _each(group, lambda r: float(r.ended_with_eos)),
        "truncation_rate": _each(group, lambda r: float(not r.ended_with_eos)),
        "empty_rate": _each(group, lambda r: float(not r.text.strip())),
        "repetition_rate": _each(group, lambda r: float(has_repeated_4gram(r.text))),
        "duplicate_rate": is_duplicate(texts),
    }
    for metric, values in rates.items():
        yield result_of(rate(values, **how), metric, model)
    alike = [self_bleu(each) for each in texts]
    if any(alike):
        yield result_of(mean(alike, **how), "self_bleu", model)
    for metric, q in QUANTILES.items():
        yield result_of(quantile(lengths, q, **how), metric, model)
    for n in (1, 2, 3):
        yield result_of(distinct(texts, n), f"distinct_{n}", model)


def _each(group: Sequence[Sequence[Record]], of: Callable[[Record], float]) -> list[list[float]]:
    return [[of(r) for r in answers] for answers in group]
