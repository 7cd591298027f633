"""How many prompts and responses a comparison needs, and what a finished one could have found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

POWER = 0.8  # probability of finding a difference of this size
LEVEL = 0.95  # two-sided test at 5%
Table = NDArray[np.float64]
"""[K, L] wins of a model's K responses against the baseline's L to one prompt."""


def detectable_difference(
    se: float, *, power: float = POWER, level: float = LEVEL, freedom: float = math.inf
) -> float:
    """The smallest true difference that is found with this power, given the standard error.

    (t_{(1+level)/2} + t_power) · se,   2.80 se at 80% and 95% with many degrees of freedom

    This is Bloom's minimal detectable effect (1995, https://doi.org/10.1177/0193841X9501900504).
    """
    return (_quantile((1 + level) / 2, freedom) + _quantile(power, freedom)) * se


ROUNDING = 1e-12  # a standard error below it is that of equal numbers, which a mean rounds


def detectable_effect(
    se: float | None,
    low: float,
    high: float,
    *,
    level: float = LEVEL,
    freedom: float = math.inf,
) -> float | None:
    """`detectable_difference` of a figure with an interval; None for an exact value.

    Args:
        se: its standard error; None: from the interval.
        low: lower end of the interval.
        high: upper end.
        level: of the interval.
        freedom: degrees of freedom of its Student's t; infinity for the normal.
    """
    error = (high - low) / (2 * _quantile((1 + level) / 2, freedom)) if se is None else se
    return detectable_difference(error, level=level, freedom=freedom) if error > ROUNDING else None


def prompts_needed(
    variance: float, effect: float, *, power: float = POWER, level: float = LEVEL
) -> int:
    """Prompts that detect a mean that differs by `effect`, for a variance between prompts.

    Raises:
        ValueError: the effect is 0, or the variance is negative or not a number.
    """
    if effect == 0:
        raise ValueError("no number of prompts detects an effect of 0")
    if not variance >= 0:
        raise ValueError(f"a variance of {variance}")
    per_error = detectable_difference(1.0, power=power, level=level)
    return max(2, math.ceil(per_error**2 * variance / effect**2 - 1e-9))


@dataclass(frozen=True, kw_only=True)
class WinVariance:
    """Parts of the variance of one comparison of two responses."""

    prompt: float  # between prompts: more responses do not help
    model: float  # between the model's responses to a prompt
    baseline: float  # between the baseline's
    rest: float  # of each pair
    split: bool = True  # False: the parts are unknown and all of it is counted to the prompt
    win_rate: float | None = None  # of the pilot; None: the variance is that of any win rate

    @property
    def total(self) -> float:
        """The variance of a single comparison."""
        return self.prompt + self.model + self.baseline + self.rest

    def at(self, win_rate: float) -> "WinVariance":
        """The parts at another win rate w: w (1 - w) times the pilot's over its own w (1 - w).

        A pilot that is nearly always won varies little, and an equal model would vary more. Ties
        and the design effect are taken to stay as they are. If all of a pilot was won or lost, it
        tells neither, and the worst case is used.
        """
        if self.win_rate is None:
            return self
        own = self.win_rate * (1 - self.win_rate)
        if own < ROUNDING:
            return worst_variance()
        scale = win_rate * (1 - win_rate) / own
        return replace(
            self,
            prompt=scale * self.prompt,
            model=scale * self.model,
            baseline=scale * self.baseline,
            rest=scale * self.rest,
            win_rate=win_rate,
        )

    def of_prompt(self, responses: int) -> float:
        """The variance of a prompt's win rate with so many responses of each model."""
        return self.prompt + (self.model + self.baseline) / responses + self.rest / responses**2

    def design_effect(self, responses: int) -> float:
        """How many times the variance is that of as many independent comparisons.

        1 if the prompts make no difference, `responses` if a prompt is won or lost as a whole.
        """
        return responses * self.of_prompt(responses) / self.total if self.total else 1.0


def worst_variance() -> WinVariance:
    """The largest variance: every prompt is won or lost as a whole, half of them each."""
    return WinVariance(prompt=0.25, model=0.0, baseline=0.0, rest=0.0, split=False)


def win_variance(tables: Sequence[Table]) -> WinVariance:
    """The parts of the variance, from a pilot.

    An analysis of variance of responses that are crossed within a prompt. With the mean squares of
    the rows, the columns and the rest, averaged over the prompts,

        rest = MS_rest,  model = (MS_rows - MS_rest)/L,  baseline = (MS_columns - MS_rest)/K,
        prompt = s² of the prompts' means - model/K - baseline/L - rest/(KL)

    each at least 0. Where that makes their sum larger than the variance of all comparisons, the
    parts are scaled down to it. With one response of either model they cannot be told apart.

    Raises:
        ValueError: fewer than two prompts.
    """
    if len(tables) < 2:
        raise ValueError(f"a variance between prompts needs two prompts, not {len(tables)}")
    between = float(np.var([table.mean() for table in tables], ddof=1))
    win_rate = float(np.mean([table.mean() for table in tables]))
    full = [table for table in tables if min(table.shape) > 1]
    if not full:
        return WinVariance(
            prompt=between, model=0.0, baseline=0.0, rest=0.0, split=False, win_rate=win_rate
        )
    parts = np.mean([_mean_squares(table) for table in full], axis=0)
    rows, columns, rest = (float(part) for part in parts)
    height, width = (float(np.mean([table.shape[axis] for table in full])) for axis in (0, 1))
    model, baseline = max((rows - rest) / width, 0.0), max((columns - rest) / height, 0.0)
    prompt = max(between - model / height - baseline / width - rest / (height * width), 0.0)
    single = float(np.var(np.concatenate([table.ravel() for table in tables])))
    scale = min(single / max(prompt + model + baseline + rest, 1e-12), 1.0)
    return WinVariance(
        prompt=scale * prompt,
        model=scale * model,
        baseline=scale * baseline,
        rest=scale * rest,
        win_rate=win_rate,
    )


def _quantile(share: float, freedom: float) -> float:
    """Of Student's t, or of the normal where the degrees of freedom are infinite."""
    if math.isinf(freedom):
        return NormalDist().inv_cdf(share)
    from scipy.special import stdtrit  # half a second

    return float(stdtrit(freedom, share))


def _mean_squares(table: Table) -> tuple[float, float, float]:
    """Of rows, columns and the rest."""
    height, width = table.shape
    rows, columns, mean = table.mean(1), table.mean(0), table.mean()
    rest = table - rows[:, None] - columns[None, :] + mean
    return (
        width * float(((rows - mean) ** 2).sum()) / (height - 1),
        height * float(((columns - mean) ** 2).sum()) / (width - 1),
        float((rest**2).sum()) / ((height - 1) * (width - 1)),
    )
