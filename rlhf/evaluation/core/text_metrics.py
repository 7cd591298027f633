"""Length, termination, repetition and diversity of one model's responses."""

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
# These have no meaning for responses that were not sampled: such responses end by definition, and
# one response per prompt has fewer n-grams than a model's several.
ONLY_SAMPLED = ("eos_rate", "truncation_rate", "distinct_1", "distinct_2", "distinct_3")


def text_metrics(
    model: str,
    group: Sequence[Sequence[Record]],
    *,
    sampled: bool,
    seed: int,
    resamples: int,
) -> list[Result]:
    """The text metrics of a model's responses.

    Args:
        model: its name.
        group: [prompts][responses].
        sampled: whether a model sampled them; else `ONLY_SAMPLED` is left out.
        seed: for the bootstrap.
        resamples: of the bootstrap.
    """
    results = _all_metrics(model, group, seed, resamples)
    return [result for result in results if sampled or result.metric not in ONLY_SAMPLED]


def _all_metrics(
    model: str, group: Sequence[Sequence[Record]], seed: int, resamples: int
) -> Iterator[Result]:
    options = {"seed": seed, "resamples": resamples}
    texts = [[r.text for r in responses] for responses in group]
    lengths = _each(group, lambda r: float(r.num_tokens))
    yield result_of(mean(lengths, **options), "length", model)
    if any(record.thought_tokens for responses in group for record in responses):
        thoughts = _each(group, lambda r: float(r.thought_tokens))
        yield result_of(mean(thoughts, **options), "thought_length", model)
    rates = {
        "eos_rate": _each(group, lambda r: float(r.ended_with_eos)),
        "truncation_rate": _each(group, lambda r: float(not r.ended_with_eos)),
        "empty_rate": _each(group, lambda r: float(not r.text.strip())),
        "repetition_rate": _each(group, lambda r: float(has_repeated_4gram(r.text))),
        "duplicate_rate": is_duplicate(texts),
    }
    for metric, values in rates.items():
        yield result_of(rate(values, **options), metric, model)
    similarities = [self_bleu(each) for each in texts]
    if any(similarities):
        yield result_of(mean(similarities, **options), "self_bleu", model)
    for metric, q in QUANTILES.items():
        yield result_of(quantile(lengths, q, **options), metric, model)
    for n in (1, 2, 3):
        yield result_of(distinct(texts, n), f"distinct_{n}", model)


def _each(group: Sequence[Sequence[Record]], value: Callable[[Record], float]) -> list[list[float]]:
    return [[value(r) for r in responses] for responses in group]
