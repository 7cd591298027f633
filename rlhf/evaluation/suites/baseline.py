"""The earlier run of suites that a run is compared with: read and checked before sampling."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.errors import ConfigError, DataError
from rlhf.evaluation.core.results import EVALUATION
from rlhf.evaluation.suites.answers import Answer, read_answers
from rlhf.evaluation.suites.figures import figure_label
from rlhf.evaluation.suites.suite import Figure, Suite


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The answers of an earlier run, and how they were sampled and graded."""

    folder: Path
    answers: Sequence[Answer]
    sampling: Mapping[str, str]  # by suite, see `Suite.sampling`
    gradings: Mapping[str, str]  # by figure of a judge, see `gradings`

    @property
    def models(self) -> list[str]:
        """Names of the models that answered."""
        return list(dict.fromkeys(one.model for one in self.answers))

    def has(self, suite: Suite, figure: Figure) -> bool:
        """Whether the figure can be compared: its responses are there, and a judge's grades."""
        label = figure_label(suite.name, figure.name)
        return suite.name in self.sampling and (not figure.rubric or label in self.gradings)

    def model_pairs(self, models: Sequence[str]) -> list[tuple[str, str]]:
        """(model now, model in the baseline) with equal names; a single one may have another."""
        if len(models) == len(self.models) == 1:
            return [(models[0], self.models[0])]
        return [(name, name) for name in models if name in self.models]


def read_baseline(folder: Path) -> Baseline:
    """The baseline run in a folder.

    Raises:
        DataError: the folder has no run of suites.
    """
    try:
        content = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
        sampling = {name: str(one["sampling"]) for name, one in content["suites"].items()}
        graded = dict(content["gradings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"baseline {folder} has no run of suites ({type(error).__name__}: {error}); give the "
            "output_dir of `rlhf evaluate --suite`.",
            code="unreadable-file",
        ) from error
    return Baseline(folder=folder, answers=read_answers(folder), sampling=sampling, gradings=graded)


def check_baseline(
    baseline: Baseline,
    suites: Sequence[Suite],
    graded: Mapping[str, str],
    models: Sequence[str],
    prompts: Mapping[str, Collection[str]],
) -> list[str]:
    """Check that this run can be compared; a sentence for each thing that only one run has.

    Args:
        baseline: the earlier run.
        suites: those of this run.
        graded: the `gradings` of this run.
        models: names of this run's models.
        prompts: keys of this run's prompts by suite.

    Raises:
        ConfigError: a suite samples or a judge grades in another way; or no model, figure or
            prompt is in both runs.
    """
    _check_alike(baseline, suites, graded)
    _check_models(baseline, models)
    new = _check_figures(baseline, suites)
    _check_prompts(baseline, prompts)
    return [
        *(f"{name} is not in the baseline and not compared" for name in new),
        *_only_here(baseline, models),
        *_only_there(baseline, suites, models),
    ]


def _check_alike(baseline: Baseline, suites: Sequence[Suite], graded: Mapping[str, str]) -> None:
    sampled = [one.name for one in suites
               if baseline.sampling.get(one.name, one.sampling) != one.sampling]  # fmt: skip
    judged = [label for label, now in graded.items() if baseline.gradings.get(label, now) != now]
    if sampled or judged:
        what = (
            f"suite {sampled[0]} had another system, max_completion_length, temperature or "
            "num_generations"
            if sampled
            else f"{judged[0]} had another judge, rubric, turn or where"
        )
        raise ConfigError(
            f"baseline {baseline.folder}: {what}, so a change would not be the model's; run the "
            "suites on the earlier model again.",
            code="other-run",
        )


def _check_models(baseline: Baseline, models: Sequence[str]) -> None:
    if not baseline.model_pairs(models):
        raise ConfigError(
            f"baseline {baseline.folder} has the models {', '.join(baseline.models)}, not "
            f"{', '.join(models)}; name them alike: --models NAME=PATH.",
            code="other-run",
        )


def _check_figures(baseline: Baseline, suites: Sequence[Suite]) -> list[str]:
    """The figures that the baseline lacks."""
    figures = [(suite, figure) for suite in suites for figure in suite.figures]
    new = [figure_label(a.name, b.name) for a, b in figures if not baseline.has(a, b)]
    if len(new) == len(figures):
        raise ConfigError(
            f"baseline {baseline.folder} has none of the figures {', '.join(new)}; run the suites "
            "on the earlier model again.",
            code="other-run",
        )
    return new


def _check_prompts(baseline: Baseline, prompts: Mapping[str, Collection[str]]) -> None:
    if not any(one.key in prompts.get(one.suite, ()) for one in baseline.answers):
        raise ConfigError(
            f"baseline {baseline.folder} has no prompt in common with these suites; use the same "
            "prompts.",
            code="other-run",
        )


def _only_here(baseline: Baseline, models: Sequence[str]) -> list[str]:
    compared = {now for now, _ in baseline.model_pairs(models)}
    return [f"{name} is not in the baseline and not compared" for name in models
            if name not in compared]  # fmt: skip


def _only_there(baseline: Baseline, suites: Sequence[Suite], models: Sequence[str]) -> list[str]:
    """The suites, figures and models of the baseline that this run leaves out."""
    now = {suite.name: {figure.name for figure in suite.figures} for suite in suites}
    compared = {before for _, before in baseline.model_pairs(models)}
    left_out = [f"suite {name}" for name in baseline.sampling if name not in now]
    left_out += dict.fromkeys(
        figure_label(one.suite, figure)
        for one in baseline.answers
        for figure in one.values
        if one.suite in now and figure not in now[one.suite]
    )
    left_out += [f"model {name}" for name in baseline.models if name not in compared]
    return [f"{name} is in the baseline only and not compared" for name in left_out]
