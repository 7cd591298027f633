"""Intervals that know which answers belong to one prompt.

Answers to one prompt resemble each other: eight samples of a hard question are eight failures,
not eight independent trials. Resampling rows pretends they are and gives intervals that are far
too narrow (at 100 prompts x 8 answers a 95% interval covers about 72%). Here whole prompts are
resampled, always.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_CHUNK = 256  # resamples drawn at once: [256, prompts] counts stay small


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float
    n: int  # prompts: the independent units
    num_answers: int = 0  # answers over all prompts; 0 where they were not counted


def mean(
    values: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Mean over all answers, with the percentile bootstrap over prompts.

    values: one inner sequence per prompt, a number for each of its answers; prompts without
        answers are left out. Every answer counts the same.
    """
    kept = [list(group) for group in values if len(group)]
    totals = [sum(group) for group in kept]
    return ratio(totals, [len(group) for group in kept], seed=seed, resamples=resamples)


def ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """sum(numerators) / sum(denominators), one of each per prompt, with its bootstrap interval.

    The estimator of "per token" and "per answer" figures: nats of a prompt over its tokens.

    Raises:
        ValueError: nothing to average, lengths that differ, or numbers that are not finite.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    _check(top, bottom)
    draws = _resampled_ratios(top, bottom, seed, resamples)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(
        value=float(top.sum() / bottom.sum()),
        low=float(low),
        high=float(high),
        n=len(top),
        num_answers=int(bottom.sum()),
    )


def jackknife(value: float, left_out: Sequence[float]) -> Estimate:
    """`value` with 1.96 jackknife standard errors; `left_out[i]` is it without prompt i.

        SE = sqrt((n-1)/n * sum_i (left_out_i - mean)^2)      (Tukey 1958)

    For figures such as distinct-2 that a bootstrap biases: a prompt drawn twice repeats itself.
    """
    others = np.asarray(left_out, dtype=np.float64)
    n = len(others)
    error = float(np.sqrt((n - 1) / n * ((others - others.mean()) ** 2).sum())) if n else 0.0
    return Estimate(value=value, low=value - 1.96 * error, high=value + 1.96 * error, n=n)


def _check(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> None:
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"numerators {top.shape} and denominators {bottom.shape} differ")
    if not len(top) or bottom.sum() <= 0:
        raise ValueError("nothing to average: no prompt has an answer")
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise ValueError("a figure to average is not finite")


def _resampled_ratios(
    top: NDArray[np.float64], bottom: NDArray[np.float64], seed: int, resamples: int
) -> NDArray[np.float64]:
    """[resamples] ratios, each of n prompts drawn with replacement."""
    rng = np.random.default_rng(seed)
    n = len(top)
    draws = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        counts = rng.multinomial(n, np.full(n, 1.0 / n), size=size)
        # A draw may consist of prompts with denominator 0 alone; it says nothing.
        with np.errstate(invalid="ignore", divide="ignore"):
            draws.append((counts @ top) / (counts @ bottom))
    found = np.concatenate(draws)
    return found[np.isfinite(found)]
