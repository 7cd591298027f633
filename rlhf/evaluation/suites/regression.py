"""Whether a model is worse than an earlier run of the same suites: paired by prompt."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.errors import ConfigError, DataError
from rlhf.evaluation.core.results import EVALUATION
from rlhf.evaluation.stats.paired import paired_difference
from rlhf.evaluation.stats.power import detectable_difference
from rlhf.evaluation.suites.answers import Answer, read_answers
from rlhf.evaluation.suites.figures import figure_label, values_by_prompt
from rlhf.evaluation.suites.suite import Figure, Suite

LEVEL = 0.95  # of all comparisons of a run together


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of a figure since the baseline run, and whether it is a regression."""

    figure: str
    model: str
    before: float
    after: float
    change: float
    low: float
    high: float
    prompts: int
    mde: float  # change that these prompts detect with 80% power; 0 if none changed
    tolerance: float
    better: str  # higher or lower
    regressed: bool

    def __str__(self) -> str:
        interval = f"[{self.low:+.3f}, {self.high:+.3f}]"
        return (
            f"{self.figure} of {self.model}: {self.before:.3f} before, {self.after:.3f} now, "
            f"change {self.change:+.3f} {interval} on {self.prompts} prompts"
        )


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The answers of an earlier run, and how they were sampled and graded."""

    folder: Path
    answers: Sequence[Answer]
    sampling: Mapping[str, str]  # by suite, see `Suite.sampling`
    gradings: Mapping[str, str]  # by figure of a judge, see `gradings`

    def has(self, suite: Suite, figure: Figure) -> bool:
        """Whether the figure can be compared: its responses are there, and a judge's grades."""
        label = figure_label(suite.name, figure.name)
        return suite.name in self.sampling and (not figure.rubric or label in self.gradings)


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
    baseline: Baseline, suites: Sequence[Suite], graded: Mapping[str, str]
) -> list[str]:
    """Check that responses were sampled and graded alike; a sentence for each that is new.

    Args:
        baseline: the earlier run.
        suites: those of this run.
        graded: the `gradings` of this run.

    Raises:
        ConfigError: a suite samples or a judge grades in another way, or no figure is in both runs.
    """
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
    new = [
        figure_label(suite.name, figure.name)
        for suite in suites
        for figure in suite.figures
        if not baseline.has(suite, figure)
    ]
    if len(new) == sum(len(suite.figures) for suite in suites):
        raise ConfigError(
            f"baseline {baseline.folder} has none of the figures {', '.join(new)}; run the suites "
            "on the earlier model again.",
            code="other-run",
        )
    return [f"{label} is not in the baseline and not compared" for label in new]


def changes(
    baseline: Baseline, suites: Sequence[Suite], answers: Sequence[Answer]
) -> tuple[list[Change], list[str]]:
    """The change of every figure of every model that the baseline has, and what was not compared.

    The baseline's responses have to be scored by the present checks, see `rescored` in run.py.

    A figure has regressed if the whole interval of its paired change is worse than `tolerance`. The
    intervals hold together: with m comparisons each has the level 1 - 0.05/m (Bonferroni), so that
    two runs of equal models fail at most once in 40. Prompts that only one run has are left out.

    Raises:
        ConfigError: no model or no prompt is in both runs.
    """
    pairs, notes = _models(baseline, answers)
    compared = [
        (suite, figure, now, before)
        for suite in suites
        for figure in suite.figures
        for now, before in pairs
        if baseline.has(suite, figure)
    ]
    level = 1 - (1 - LEVEL) / max(1, len(compared))
    found: list[Change] = []
    for suite, figure, now, before in compared:
        after = [one for one in answers if (one.suite, one.model) == (suite.name, now)]
        earlier = [
            one for one in baseline.answers if (one.suite, one.model) == (suite.name, before)
        ]
        change, note = _change(suite, figure, now, after, earlier, level)
        found += change
        notes += note
    if not found:
        raise ConfigError(
            f"baseline {baseline.folder} has no prompt in common with these suites; use the same "
            "prompts.",
            code="other-run",
        )
    return found, list(dict.fromkeys(notes))


def _models(
    baseline: Baseline, answers: Sequence[Answer]
) -> tuple[list[tuple[str, str]], list[str]]:
    """(model now, model in the baseline) with equal names; a single one may have another name.

    Raises:
        ConfigError: no model is in both runs.
    """
    now = list(dict.fromkeys(one.model for one in answers))
    before = list(dict.fromkeys(one.model for one in baseline.answers))
    if len(now) == len(before) == 1:
        return [(now[0], before[0])], []
    pairs = [(name, name) for name in now if name in before]
    if not pairs:
        raise ConfigError(
            f"baseline {baseline.folder} has the models {', '.join(before)}, not "
            f"{', '.join(now)}; name them alike: --models NAME=PATH.",
            code="other-run",
        )
    new = [name for name in now if name not in before]
    return pairs, [f"{name} is not in the baseline and not compared" for name in new]


def _change(
    suite: Suite,
    figure: Figure,
    model: str,
    after: Sequence[Answer],
    before: Sequence[Answer],
    level: float,
) -> tuple[list[Change], list[str]]:
    label = figure_label(suite.name, figure.name)
    now, then = values_by_prompt(after, figure.name), values_by_prompt(before, figure.name)
    keys = [key for key in now if key in then]
    notes = []
    if (apart := len(now) + len(then) - 2 * len(keys)) and keys:
        notes.append(f"{label}: {apart} prompts are in one of the runs only and left out")
    new, old = [now[key] for key in keys], [then[key] for key in keys]
    estimate = paired_difference(new, old, level=level)
    if estimate is None:
        return [], [*notes, f"{label}: no value in one of the runs, so it is not compared"]
    # The better end of the interval, as a change for the better.
    best = estimate.high if figure.sign > 0 else -estimate.low
    change = Change(
        figure=label,
        model=model,
        before=_mean(old),
        after=_mean(new),
        change=estimate.value,
        low=estimate.low,
        high=estimate.high,
        prompts=estimate.n,
        mde=detectable_difference(estimate.se or 0.0, level=level),
        tolerance=figure.tolerance,
        better=figure.better,
        regressed=best < -figure.tolerance,
    )
    return [change], notes


def _mean(values: Sequence[Sequence[float]]) -> float:
    flat = [each for own in values for each in own]
    return sum(flat) / len(flat)
