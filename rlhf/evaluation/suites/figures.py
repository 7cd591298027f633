"""The figures of suites: means with intervals over prompts, by model and by category."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.stats.bootstrap import Estimate, mean, rate
from rlhf.evaluation.suites.answers import Answer
from rlhf.evaluation.suites.judge import JudgeKeys, grading_hash, judge_file
from rlhf.evaluation.suites.suite import Figure, Suite

METRIC = "suite"


def figure_results(suite: Suite, answers: Sequence[Answer], *, seed: int) -> list[Result]:
    """Every figure of every model, over all prompts and by the column `category`.

    A figure without a value (a check that applies to no response) is left out, and so is a category
    of a single prompt.
    """
    results: list[Result] = []
    for model in dict.fromkeys(one.model for one in answers):
        own = [one for one in answers if one.model == model]
        categories = sorted({one.category for one in own if one.category is not None})
        for figure in suite.figures:
            results += _result(suite, figure, model, own, None, seed)
            for category in categories if len(categories) > 1 else ():
                part = [one for one in own if one.category == category]
                results += _result(suite, figure, model, part, category, seed)
    return results


def figure_label(suite: str, figure: str) -> str:
    """What results and messages call a figure: `SUITE FIGURE`."""
    return f"{suite} {figure}"


def values_by_prompt(answers: Iterable[Answer], figure: str) -> dict[str, list[float]]:
    """The values of a figure by the prompt's key, over all samples; prompts of other figures apart.

    A prompt of the figure without a value has an empty list.
    """
    values: dict[str, list[float]] = {}
    for one in sorted(answers, key=lambda one: (one.key, one.sample)):
        if figure in one.values:
            values.setdefault(one.key, []).extend(one.values[figure])
    return values


def _result(
    suite: Suite,
    figure: Figure,
    model: str,
    answers: Sequence[Answer],
    category: str | None,
    seed: int,
) -> list[Result]:
    estimate = _estimate(list(values_by_prompt(answers, figure.name).values()), seed)
    if estimate is None or (category is not None and estimate.n < 2):
        return []
    result = result_of(estimate, METRIC, model, axis=figure_label(suite.name, figure.name))
    return [replace(result, subset=category)]


def _estimate(values: Sequence[Sequence[float]], seed: int) -> Estimate | None:
    """The mean with its interval; None without a value."""
    if not any(values):
        return None
    is_rate = all(0 <= each <= 1 for own in values for each in own)
    return rate(values, seed=seed) if is_rate else mean(values, seed=seed)


def gradings(suites: Sequence[Suite], keys: JudgeKeys) -> dict[str, str]:
    """A hash for each figure of a judge; grades of other judges or rubrics cannot be compared."""
    return {
        figure_label(suite.name, figure.name): grading_hash(figure, judge_file(suite, figure, keys))
        for suite in suites
        for figure in suite.figures
        if figure.rubric
    }
