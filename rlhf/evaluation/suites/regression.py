"""Whether a model is worse than an earlier run of the same suites: paired by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.evaluation.stats.paired import paired_difference
from rlhf.evaluation.suites.answers import Answer
from rlhf.evaluation.suites.baseline import Baseline
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
    mde: float | None  # change that these prompts detect with 80% power; None if none changed
    tolerance: float
    better: str  # higher or lower
    regressed: bool

    def __str__(self) -> str:
        interval = f"[{self.low:+.3f}, {self.high:+.3f}]"
        return (
            f"{self.figure} of {self.model}: {self.before:.3f} before, {self.after:.3f} now, "
            f"change {self.change:+.3f} {interval} on {self.prompts} prompts"
        )


def changes(
    baseline: Baseline, suites: Sequence[Suite], answers: Sequence[Answer]
) -> tuple[list[Change], list[str]]:
    """The change of every figure of every model that the baseline has, and what was not compared.

    The runs have to be comparable, see `check_baseline`, and the baseline's responses scored by the
    present checks, see `rescored` in run.py.

    A figure has regressed if the whole interval of its paired change is worse than `tolerance`. The
    intervals hold together: with m comparisons each has the level 1 - 0.05/m (Bonferroni), so that
    two runs of equal models fail at most once in 40. Prompts that only one run has are left out.
    """
    pairs = baseline.model_pairs(list(dict.fromkeys(one.model for one in answers)))
    compared = [
        (suite, figure, now, before)
        for suite in suites
        for figure in suite.figures
        for now, before in pairs
        if baseline.has(suite, figure)
    ]
    level = 1 - (1 - LEVEL) / max(1, len(compared))
    found: list[Change] = []
    notes: list[str] = []
    for suite, figure, now, before in compared:
        after = [one for one in answers if (one.suite, one.model) == (suite.name, now)]
        earlier = [
            one for one in baseline.answers if (one.suite, one.model) == (suite.name, before)
        ]
        change, note = _change(suite, figure, now, after, earlier, level)
        found += change
        notes += note
    return found, list(dict.fromkeys(notes))


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
    if not keys:
        return [], [f"{label} of {model}: no prompt is in both runs, not compared"]
    notes = []
    if apart := len(now) + len(then) - 2 * len(keys):
        notes.append(f"{label}: {apart} prompts are in one of the runs only and left out")
    new, old = [now[key] for key in keys], [then[key] for key in keys]
    estimate = paired_difference(new, old, level=level)
    if estimate is None:
        return [], [*notes, f"{label} of {model}: no value in one of the runs, not compared"]
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
        mde=estimate.mde,
        tolerance=figure.tolerance,
        better=figure.better,
        regressed=best < -figure.tolerance,
    )
    return [change], notes


def _mean(values: Sequence[Sequence[float]]) -> float:
    flat = [each for own in values for each in own]
    return sum(flat) / len(flat)
