"""The values of a suite's responses by its checks, functions, verifiers and judges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.suites.answers import Answer
from rlhf.evaluation.suites.checks import CHECK, NEEDED, check_named
from rlhf.evaluation.suites.judge import JudgeKeys, grading, judge_file
from rlhf.evaluation.suites.prompts import SuitePrompt
from rlhf.evaluation.suites.suite import Figure, Suite
from rlhf.rewards.concurrent import AsyncScorer
from rlhf.rewards.function import RewardFunction, call_function, load_function
from rlhf.rewards.judge_file import JudgeFile
from rlhf.rewards.kinds import VERIFIER, runs_code
from rlhf.rewards.number import number_of
from rlhf.rewards.options import CallOptions
from rlhf.rewards.verifiers.load import check_verifier_rows, load_verifier
from rlhf.types import Prompt, PromptRow


@dataclass(frozen=True, kw_only=True)
class Item:
    """A response of one turn, with all that a score may read."""

    prompt: Prompt
    text: str
    columns: Mapping[str, object]
    earlier: Sequence[str]


def check_figure(suite: Suite, figure: Figure, prompts: Sequence[SuitePrompt]) -> None:
    """Check that a figure can be computed on these prompts, before anything is sampled.

    Raises:
        ConfigError: a check, function, verifier or judge that does not load; no prompt of the
            figure, or one without a turn or column that it needs.
    """
    place = f"suite {suite.name}, figure {figure.name}"
    chosen = [prompt for prompt in prompts if figure.counts(prompt.columns)]
    if not chosen:
        raise ConfigError(
            f"{place}: no prompt has {dict(figure.where)}; correct where, or the prompts.",
            code="bad-value",
        )
    short = [prompt for prompt in chosen if (figure.turn or 1) > 1 + len(prompt.later)]
    if short:
        raise ConfigError(
            f"{place}: turn={figure.turn}, but the prompt {str(short[0].prompt)[:80]!r} has "
            f"{1 + len(short[0].later)}; select prompts with where.",
            code="bad-value",
        )
    if figure.score.startswith(CHECK):
        check_named(figure.score, place)
        _check_columns(place, NEEDED.get(figure.score.removeprefix(CHECK), ()), chosen)
    elif runs_code(figure.score):
        raise ConfigError(
            f"{place}: {figure.score} runs programs, which a suite does not; use another score.",
            code="unsupported",
        )
    elif figure.score.startswith(VERIFIER):
        rows = [PromptRow(prompt=one.prompt, columns=one.columns) for one in chosen]
        check_verifier_rows(figure.score, rows)
    elif figure.score:
        load_function(figure.score)


def score_answers(
    suite: Suite,
    prompts: Mapping[str, SuitePrompt],
    answers: Sequence[Answer],
    judge: JudgeKeys,
    *,
    device: torch.device,
) -> tuple[list[Answer], dict[str, int]]:
    """The answers with their values by figure, and how many responses a judge gave no grade.

    Args:
        suite: the suite.
        prompts: its prompts by key.
        answers: of any models.
        judge: the judge that the command names.
        device: where a local judge computes.

    Raises:
        TrainingError: a function raised an error, or returned something other than numbers.
    """
    values: list[dict[str, list[float]]] = [{} for _ in answers]
    ungraded: dict[str, int] = {}
    for figure in suite.figures:
        places = [
            place for place, one in enumerate(answers) if figure.counts(prompts[one.key].columns)
        ]
        items = [_item(prompts[answers[place].key], answers[place], figure) for place in places]
        scored = _values(suite, figure, items, judge, device)
        for place, own in zip(places, scored, strict=True):
            values[place][figure.name] = own
        if figure.rubric and (missing := sum(not own for own in scored)):
            ungraded[figure.name] = missing
    return [replace(one, values=own) for one, own in zip(answers, values, strict=True)], ungraded


def _item(prompt: SuitePrompt, answer: Answer, figure: Figure) -> Item:
    turn = len(answer.responses) if figure.turn is None else figure.turn
    earlier = answer.responses[: turn - 1]
    first = prompt.prompt if isinstance(prompt.prompt, str) else prompt.prompt[-1]["content"]
    return Item(
        prompt=prompt.at_turn(earlier) if earlier else prompt.prompt,
        text=answer.responses[turn - 1],
        columns={**prompt.columns, "prompt": first},
        earlier=earlier,
    )


def _values(
    suite: Suite, figure: Figure, items: Sequence[Item], judge: JudgeKeys, device: torch.device
) -> list[list[float]]:
    """The values of each response; none where the score does not apply."""
    if not items:  # of a process without prompts of this figure
        return []
    place = f"suite {suite.name}, figure {figure.name}"
    if figure.score.startswith(CHECK):
        check = check_named(figure.score, place)
        return [check(item.text, item.columns, item.earlier) for item in items]
    if figure.rubric:
        return _grades(place, judge_file(suite, figure, judge), items, device, bf16=judge.bf16)
    if not figure.score.startswith(VERIFIER):
        return _of_function(place, load_function(figure.score), items)
    verifier = load_verifier(figure.score, CallOptions())
    assert not isinstance(verifier, AsyncScorer)  # see check_figure
    return _of_function(place, verifier, items)


def _grades(
    place: str, file: JudgeFile, items: Sequence[Item], device: torch.device, *, bf16: bool
) -> list[list[float]]:
    """The judge's grade of each response; none where it gave none.

    Raises:
        TrainingError: it gave none at all.
    """
    scores = grading(file, device, bf16=bf16).score(
        [item.prompt for item in items], [item.text for item in items]
    )
    grades = scores.scores.tolist()
    if grades and all(map(math.isnan, grades)):
        reason = next((reason for reason in scores.failures if reason), "")
        raise TrainingError(
            f"{place}: the judge {file.judge} gave no response a grade: {reason}",
            code="judge-failed",
        )
    return [[] if math.isnan(grade) else [grade] for grade in grades]


def _of_function(place: str, function: RewardFunction, items: Sequence[Item]) -> list[list[float]]:
    """The numbers of a function in TRL's signature; None means that it does not apply."""
    columns = [
        {name: value for name, value in item.columns.items() if name != "prompt"}
        | {"earlier": list(item.earlier)}
        for item in items
    ]
    try:
        returned = call_function(
            function, [item.prompt for item in items], [item.text for item in items], columns
        )
    except Exception as error:
        raise TrainingError(
            f"{place}: the function raised {type(error).__name__}: {error}.", code="judge-failed"
        ) from error
    if not isinstance(returned, list | tuple) or len(returned) != len(items):
        raise TrainingError(
            f"{place}: the function returned {str(returned)[:80]!r} for {len(items)} responses; "
            "return a list with one number or None for each.",
            code="judge-failed",
        )
    values = [[] if one is None else [number_of(one)] for one in returned]
    for item, own in zip(items, values, strict=True):
        if own and not math.isfinite(own[0]):
            raise TrainingError(
                f"{place}: the function returned no finite number for {item.text[:80]!r}.",
                code="judge-failed",
            )
    return values


def _check_columns(place: str, names: Sequence[str], prompts: Sequence[SuitePrompt]) -> None:
    for prompt in prompts:
        for name in names:
            if prompt.columns.get(name) is None:
                raise ConfigError(
                    f"{place} reads the column {name}, which the prompt "
                    f"{str(prompt.prompt)[:80]!r} has not; add it, or select prompts with where.",
                    code="bad-row",
                )
