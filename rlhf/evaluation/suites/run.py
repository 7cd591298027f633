"""Run suites on models: sample, score, compare with a baseline. On one process or several."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.core.config import named_paths
from rlhf.evaluation.core.results import Result
from rlhf.evaluation.suites.answers import Answer
from rlhf.evaluation.suites.baseline import Baseline
from rlhf.evaluation.suites.config import SuiteConfig
from rlhf.evaluation.suites.figures import figure_results
from rlhf.evaluation.suites.judge import JudgeKeys, judge_file
from rlhf.evaluation.suites.prompts import LoadedSuite
from rlhf.evaluation.suites.regression import Change, changes
from rlhf.evaluation.suites.sample import sample_suites, suite_tokenizer
from rlhf.evaluation.suites.scoring import check_figure, score_answers
from rlhf.rewards.judge import check_judge_file
from rlhf.rollouts.chat_server import parse_served, served_models
from rlhf.runtime.distributed import gathered
from rlhf.runtime.printing import counted

T = TypeVar("T")
Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """The answers and figures of all suites, and their changes since the baseline."""

    answers: Sequence[Answer]
    results: Sequence[Result]
    ungraded: Mapping[str, int]  # responses that a judge gave no grade, by figure
    changes: Sequence[Change] = ()
    notes: Sequence[str] = field(default_factory=list)

    def check_regressions(self) -> None:
        """Raise if a figure is worse than in the baseline, or if none could be compared with it.

        Raises:
            TrainingError: at least one figure is worse; exit status 1.
            ConfigError: no figure has a value in both runs.
        """
        if not self.changes:
            raise ConfigError(
                "no figure has a value in this run and in the baseline, so nothing was compared; "
                "see the notes.",
                code="other-run",
            )
        worse = [str(change) for change in self.changes if change.regressed]
        if worse:
            raise TrainingError(
                "\n  ".join(
                    [f"{counted(len(worse), 'figure')} worse than in the baseline:", *worse]
                ),
                code="regression",
            )


def check_suites(
    loaded: Sequence[LoadedSuite], config: SuiteConfig, seed: int, log: Log
) -> list[LoadedSuite]:
    """The suites with at most `max_prompts` prompts, once figures, models and judges are checked.

    Raises:
        ConfigError: a figure that cannot be computed, or a judge or server that cannot be reached.
        CheckpointError: a model that does not exist.
    """
    for path in named_paths(config.models, "models").values():
        if (served := parse_served(path)) is None:
            suite_tokenizer(path, config)
        else:
            served_models(served.address, [served.model])
    keys = judge_keys(config)
    judges: dict[tuple[str, str], None] = {}
    chosen = []
    for one in loaded:
        prompts = _drawn(one.prompts, config.max_prompts, seed)
        for figure in one.suite.figures:
            check_figure(one.suite, figure, one.prompts)
            if figure.rubric:
                file = judge_file(one.suite, figure, keys)
                if (file.judge, file.model) not in judges:
                    check_judge_file(file, f"suite {one.suite.name}")
                    judges[file.judge, file.model] = None
        if len(prompts) < len(one.prompts):
            log(f"{one.suite.name}: {len(prompts)} of {counted(len(one.prompts), 'prompt')}")
        chosen.append(LoadedSuite(suite=one.suite, prompts=prompts))
    return chosen


def run_suites(
    loaded: Sequence[LoadedSuite],
    config: SuiteConfig,
    *,
    seed: int,
    baseline: Baseline | None,
    log: Log,
    folder: Path | None = None,
    replaces: bool = False,
) -> SuiteRun:
    """Answers, figures and changes; complete on every process.

    Args:
        loaded: the checked suites.
        config: models and sampling.
        seed: of the run.
        baseline: the earlier run, or None.
        log: called with the progress.
        folder: where responses are written as they are sampled, and where those of an interrupted
            call with the same arguments are taken from; None for nowhere. `delete_journals` of
            the evaluation deletes them.
        replaces: as in `open_journal`.

    Raises:
        ConfigError: as `open_journal`.
        TrainingError: a score that failed.
    """
    state = PartialState()
    answers = sample_suites(loaded, config, seed, log, folder, replaces=replaces)
    by_suite = {one.suite.name: one for one in loaded}
    scored: list[Answer] = []
    ungraded: dict[str, int] = {}
    for name, one in by_suite.items():
        own = [answer for answer in answers if answer.suite == name]
        prompts = {prompt.key: prompt for prompt in one.prompts}
        part, missing = score_answers(
            one.suite, prompts, own, judge_keys(config), device=state.device
        )
        scored += part
        ungraded |= {f"{name} {figure}": count for figure, count in missing.items()}
    everything = gathered(scored)
    results = [
        result
        for name, one in by_suite.items()
        for result in figure_results(
            one.suite, [answer for answer in everything if answer.suite == name], seed=seed
        )
    ]
    found: list[Change] = []
    notes: list[str] = []
    if baseline is not None:
        earlier = rescored(baseline, loaded, device=state.device)
        found, notes = changes(earlier, [one.suite for one in loaded], everything)
    return SuiteRun(
        answers=everything,
        results=results,
        ungraded=_summed(gathered([ungraded])),
        changes=found,
        notes=notes,
    )


def rescored(
    baseline: Baseline, loaded: Sequence[LoadedSuite], *, device: torch.device
) -> Baseline:
    """The baseline with the values of the present checks and functions, so that only models differ.

    A judge's grades stay. Responses to prompts that the suites no longer have stay as they were.
    """
    answers = list(baseline.answers)
    for one in loaded:
        prompts = {prompt.key: prompt for prompt in one.prompts}
        scored = [figure for figure in one.suite.figures if not figure.rubric]
        places = [
            place
            for place, answer in enumerate(answers)
            if answer.suite == one.suite.name and answer.key in prompts
        ]
        again, _ = score_answers(
            replace(one.suite, figures=scored),
            prompts,
            [answers[place] for place in places],
            JudgeKeys(),
            device=device,
        )
        for place, answer in zip(places, again, strict=True):
            before = answers[place]
            graded = {
                figure.name: before.values[figure.name]
                for figure in one.suite.figures
                if figure.rubric and figure.name in before.values
            }
            answers[place] = replace(before, values={**graded, **answer.values})
    return replace(baseline, answers=answers)


def judge_keys(config: SuiteConfig) -> JudgeKeys:
    """The judge that the command names."""
    return JudgeKeys(
        judge=config.judge,
        model=config.judge_model,
        max_tokens=config.judge_max_tokens,
        bf16=config.bf16,
    )


def _drawn(prompts: Sequence[T], at_most: int | None, seed: int) -> list[T]:
    if at_most is None or at_most >= len(prompts):
        return list(prompts)
    picked = random.Random(seed).sample(range(len(prompts)), at_most)
    return [prompts[index] for index in sorted(picked)]


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = dict.fromkeys(name for each in counts for name in each)
    return {name: sum(each.get(name, 0) for each in counts) for name in names}
