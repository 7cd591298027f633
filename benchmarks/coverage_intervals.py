"""Coverage of intervals of few prompts, of strengths, over time, and of many parts."""

import math

import numpy as np

from rlhf.evaluation.stats.bootstrap import RESAMPLES, mean, resampled_counts
from rlhf.evaluation.stats.bradley_terry import bradley_terry
from rlhf.evaluation.stats.confidence_sequence import confidence_sequence, log_capital
from rlhf.evaluation.stats.parts import benjamini_hochberg


def few_prompts_coverage(
    prompts: int, *, repetitions: int, responses: int = 4, seed: int = 0
) -> tuple[float, float]:
    """Coverage of a mean score of few prompts: by expanded quantiles, and by 2.5% and 97.5%.

    Half of a score's variance is that of its prompt.
    """
    rng = np.random.default_rng(seed)
    covered = []
    for number in range(repetitions):
        scores = rng.normal(size=(prompts, 1)) + rng.normal(size=(prompts, responses))
        estimate = mean(scores.tolist(), seed=number)
        counts = np.concatenate(list(resampled_counts(prompts, seed=number, resamples=RESAMPLES)))
        low, high = np.quantile(counts @ scores.mean(1) / prompts, [0.025, 0.975])
        covered.append([estimate.low <= 0 <= estimate.high, low <= 0 <= high])
    expanded, plain = np.mean(covered, 0)
    return float(expanded), float(plain)


def strength_coverage(prompts: int) -> float:
    """The lowest coverage of a Bradley-Terry strength, for win rates from 0.5 to 0.95.

    Two models and one game per prompt. The number of games won is binomial, so the coverage is the
    probability of the numbers whose interval has the truth.
    """
    won = np.arange(prompts + 1)
    wins = [[[1.0]] * k + [[-1.0]] * (prompts - k) for k in won]
    intervals = [bradley_terry([own, [[0.0]] * prompts])[0] for own in wins]
    chances = np.array([math.comb(prompts, k) for k in won])
    covered = []
    for rate in np.linspace(0.5, 0.95, 46):
        truth = np.log(rate / (1 - rate)) / 2
        inside = np.array([one.low <= truth <= one.high for one in intervals])
        covered.append((chances * rate**won * (1 - rate) ** (prompts - won) * inside).sum())
    return float(min(covered))


def anytime_error(
    *, truth: float, labels: int, repetitions: int, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """How often looking after each label excludes the truth: by betting, and by a plain interval.

    The plain interval is the mean ± 1.96 standard errors after each label from the tenth on.
    """
    rng = np.random.default_rng(seed)
    wins = (rng.random((repetitions, labels)) < truth).astype(float)
    limit = -np.log(1 - level)
    excluded = [(log_capital(row, np.array([truth]), level=level) >= limit).any() for row in wins]
    count = np.arange(1, labels + 1)
    means = np.cumsum(wins, 1) / count
    errors = np.sqrt(np.maximum(means * (1 - means), 1e-12) / count)
    plain = (np.abs(means - truth) > 1.96 * errors)[:, 9:].any(1)
    return float(np.mean(excluded)), float(plain.mean())


def false_discoveries(*, parts: int, different: int, repetitions: int, seed: int = 0) -> float:
    """Mean share of false discoveries at q < 5%, if some parts differ by 3.5 standard errors."""
    from scipy.special import ndtr

    rng = np.random.default_rng(seed)
    shift = np.where(np.arange(parts) < different, 3.5, 0.0)
    shares = []
    for _ in range(repetitions):
        z = rng.normal(shift)
        found = np.array(benjamini_hochberg((2 * ndtr(-np.abs(z))).tolist())) < 0.05
        shares.append(found[different:].sum() / max(found.sum(), 1))
    return float(np.mean(shares))


def sequence_width(*, truth: float, labels: int, repetitions: int, seed: int = 0) -> float:
    """Mean width of the confidence sequence over that of an interval for one look."""
    rng = np.random.default_rng(seed)
    ratios = []
    for _ in range(repetitions):
        wins = (rng.random(labels) < truth).astype(float)
        low, high = confidence_sequence(wins.tolist())[-1]
        ratios.append((high - low) / (2 * 1.96 * np.sqrt(truth * (1 - truth) / labels)))
    return float(np.mean(ratios))
