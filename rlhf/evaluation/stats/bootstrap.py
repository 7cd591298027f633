"""Confidence intervals that resample prompts.

Responses to one prompt are similar: eight samples for a hard prompt are eight failures, not eight
independent trials. Resampling responses treats them as independent and gives intervals that are far
too narrow (at 100 prompts x 8 responses a 95% interval covers about 72%). Here whole prompts are
resampled.

With few prompts the percentile interval is still too narrow: its spread is that of a sample with n
in place of n - 1, and its quantiles are those of a known variance (of 10 prompts it covers about
90%). The quantiles are moved outwards so that of normal values the interval is Student's t (the
expanded percentile interval, Hesterberg 2015, https://doi.org/10.1080/00031305.2015.1089789).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.power import LEVEL, detectable_effect

RESAMPLES = 2000
_CHUNK = 256  # resamples drawn at once: [256, prompts] counts stay small
NORMAL_95 = 1.959964  # two-sided 95% quantile of the normal distribution
_CACHED = 4_000_000  # counts, 32 MB; with more they are drawn again for each metric


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and its interval, of 95% if `level` does not say otherwise.

    `low` and `high` are infinite if there are too few prompts for an interval.
    """

    value: float
    low: float
    high: float
    n: int  # prompts: the independent units
    num_answers: int = 0  # responses over all prompts; 0 if they were not counted
    se: float | None = None  # standard error; None if not computed
    level: float = LEVEL  # of the interval
    freedom: float = math.inf  # of the interval's Student's t; infinity for the normal

    @property
    def has_interval(self) -> bool:
        """Whether there are enough prompts for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def mde(self) -> float | None:
        """The minimal detectable effect: the smallest true difference found with 80% power.

        From the standard error, or from the interval if there is none; None for an exact value, and
        without an interval.
        """
        if not self.has_interval:
            return None
        return detectable_effect(
            self.se, self.low, self.high, level=self.level, freedom=self.freedom
        )

    @property
    def content(self) -> dict[str, float | None]:
        """The figure as an object of JSON; an exact value has no `mde`."""
        names = ("value", "low", "high", "n", "num_answers", "se")
        fields = {name: getattr(self, name) for name in names}
        return fields if self.mde is None else {**fields, "mde": self.mde}


def mean(
    values: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Mean over all responses, with the percentile bootstrap over prompts.

    The standard error is `clustered_error`; of a single prompt it is 0.

    values: [prompts][responses]; prompts without responses are left out. Every response has the
        same weight.
    """
    groups = [list(group) for group in values if len(group)]
    totals, counts = [sum(group) for group in groups], [len(group) for group in groups]
    estimate = ratio(totals, counts, seed=seed, resamples=resamples)
    return replace(estimate, se=clustered_error(totals, counts)) if estimate.n > 1 else estimate


def rate(
    values: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """`mean` of numbers from 0 to 1, with an interval that always has a width.

    If all prompts are 0 or all are 1, every resample is the same, although the value is not
    certain: the interval is then Wilson's for one coin flip per prompt. For a single prompt it is
    [0, 1].

    The standard error of Wilson's interval is the half width over 1.96.
    """
    estimate = mean(values, seed=seed, resamples=resamples)
    if estimate.n > 1 and 0 < estimate.value < 1:
        return estimate
    low, high = wilson(estimate.value, estimate.n) if estimate.n > 1 else (0.0, 1.0)
    # Rounding must not exclude the value itself.
    low, high = min(low, estimate.value), max(high, estimate.value)
    error = (high - low) / (2 * 1.96)
    return replace(estimate, low=low, high=high, se=error, freedom=math.inf)


def clustered_error(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Standard error of sum(numerators) / sum(denominators), one of each per prompt.

        SE = sqrt(n/(n-1) Σ_p (t_p - r c_p)²) / Σ_p c_p

    With one response per prompt it is s/sqrt(n), the standard error that leaderboards print.

    Raises:
        ValueError: there are fewer than two prompts.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    n = len(top)
    if n < 2:
        raise ValueError(f"a standard error needs two prompts or more, not {n}")
    residuals = top - top.sum() / bottom.sum() * bottom
    return float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / bottom.sum())


def wilson(share: float, flips: float, quantile: float = NORMAL_95) -> tuple[float, float]:
    """Wilson's score interval of so many flips, as in `rlhf.ops.accuracy`, which loads torch."""
    square = quantile**2
    middle = (share + square / (2 * flips)) / (1 + square / flips)
    half = math.sqrt(share * (1 - share) / flips + square / (4 * flips**2))
    half *= quantile / (1 + square / flips)
    return max(0.0, middle - half), min(1.0, middle + half)


def ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """sum(numerators) / sum(denominators), one of each per prompt, with its bootstrap interval.

    The estimator of metrics per token and per response: nats of a prompt over its tokens.

    Raises:
        ValueError: there is nothing to average, lengths differ, or numbers are not finite.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    _check(top, bottom)
    draws = _resampled_ratios(top, bottom, seed, resamples)
    value = float(top.sum() / bottom.sum())
    return estimate_of(value, draws, n=len(top), num_answers=int(bottom.sum()))


def estimate_of(
    value: float, draws: NDArray[np.float64], *, n: int, num_answers: int = 0
) -> Estimate:
    """`value` with its expanded percentile interval (95%) and the deviation of its resamples [B].

    n: prompts, which decide how far the quantiles are moved outwards.
    """
    tail = expanded_tail(n)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(
        value=value,
        low=float(low),
        high=float(high),
        n=n,
        num_answers=num_answers,
        se=float(draws.std()),
        freedom=_freedom(n),
    )


@lru_cache(maxsize=256)
def expanded_tail(n: int) -> float:
    """Φ(-√(n/(n-1)) t_{0.975, n-1}): the share of resamples below a 95% interval of n prompts.

    0.025 for many prompts, 0.0231 for 100, 0.0086 for 10. A single prompt has 0.025: its resamples
    are all the same.
    """
    if n < 2:
        return 0.025
    from scipy.special import ndtr  # half a second

    return float(ndtr(-math.sqrt(n / (n - 1)) * student_95(n)))


def student_95(n: int) -> float:
    """The two-sided 95% quantile of Student's t with n - 1 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.975))


def resampled_counts(n: int, *, seed: int, resamples: int) -> Iterable[NDArray[np.float64]]:
    """How often each of n prompts occurs in each resample, in parts of at most 256: [256, n].

    All metrics of the same prompts share the draws of one seed. Do not change the arrays: they are
    cached, because an evaluation needs the same ones some hundred times.
    """
    if n * resamples <= _CACHED:
        return _cached_counts(n, seed, resamples)
    return _draw_counts(n, seed, resamples)


@lru_cache(maxsize=4)
def _cached_counts(n: int, seed: int, resamples: int) -> Sequence[NDArray[np.float64]]:
    return list(_draw_counts(n, seed, resamples))


def _draw_counts(n: int, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        yield rng.multinomial(n, np.full(n, 1.0 / n), size=size).astype(np.float64)


def jackknife(value: float, left_out: Sequence[float]) -> Estimate:
    """`value` ± t jackknife standard errors; `left_out[i]` is the value without prompt i.

        SE = sqrt((n-1)/n * sum_i (left_out_i - mean)^2)      (Tukey 1958)

    t is Student's with n - 1 degrees of freedom, as Tukey proposed; the interval of one prompt has
    no width.

    For metrics such as distinct-2, which a bootstrap biases: a prompt drawn twice repeats n-grams.
    """
    others = np.asarray(left_out, dtype=np.float64)
    n = len(others)
    error = float(np.sqrt((n - 1) / n * ((others - others.mean()) ** 2).sum())) if n else 0.0
    half = student_95(n) * error if n > 1 else 0.0
    return Estimate(
        value=value, low=value - half, high=value + half, n=n, se=error, freedom=_freedom(n)
    )


def _freedom(n: int) -> float:
    """Degrees of freedom of an interval over n prompts; that of one prompt has no width."""
    return n - 1.0 if n > 1 else math.inf


def _check(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> None:
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"numerators {top.shape} and denominators {bottom.shape} differ")
    if not len(top) or bottom.sum() <= 0:
        raise ValueError("nothing to average: no prompt has a response")
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise ValueError("a value to average is not finite")


def _resampled_ratios(
    top: NDArray[np.float64], bottom: NDArray[np.float64], seed: int, resamples: int
) -> NDArray[np.float64]:
    """[resamples] ratios, each of n prompts drawn with replacement."""
    draws = []
    for counts in resampled_counts(len(top), seed=seed, resamples=resamples):
        # A draw in which every prompt has the denominator 0 is dropped.
        with np.errstate(invalid="ignore", divide="ignore"):
            draws.append((counts @ top) / (counts @ bottom))
    ratios = np.concatenate(draws)
    return ratios[np.isfinite(ratios)]
