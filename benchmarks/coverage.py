"""Coverage of the evaluation's estimators on simulated judges and annotators.

    python -m benchmarks.coverage [--repetitions 2000]

Every estimator has to cover the truth in 92 to 97% of repetitions, whatever the judge is like, and
confidence sequences at all times together in 95% or more.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.evaluation.stats.bootstrap import RESAMPLES, mean, resampled_counts
from rlhf.evaluation.stats.bradley_terry import bradley_terry
from rlhf.evaluation.stats.confidence_sequence import confidence_sequence, log_capital
from rlhf.evaluation.stats.equal_length import equal_length_win_rate
from rlhf.evaluation.stats.length_control import length_controlled_win_rate
from rlhf.evaluation.stats.parts import benjamini_hochberg
from rlhf.evaluation.stats.prediction_powered import PredictionPowered, prediction_powered_mean
from rlhf.evaluation.stats.sampled_length import (
    sampled_equal_length_win_rate,
    sampled_length_controlled_win_rate,
)
from rlhf.evaluation.stats.sampling_design import sampling_probabilities, systematic_sample

PROMPTS, LABELS = 400, 60
Array = NDArray[np.float64]
Judge = Callable[[np.random.Generator, Array], Array]
"""The judge's wins of prompts, given the people's."""


def biased(rng: np.random.Generator, people: Array) -> Array:
    """Agrees with people on 70% of the prompts and prefers the model on the others."""
    return np.where(rng.random(len(people)) < 0.7, people, 1.0)


def noisy(rng: np.random.Generator, people: Array) -> Array:
    """Agrees with people on 70% of the prompts and flips a coin on the others."""
    coins = rng.integers(0, 2, len(people))
    return np.where(rng.random(len(people)) < 0.7, people, coins)


def useless(rng: np.random.Generator, people: Array) -> Array:
    """A win, a tie or a loss, whatever people say."""
    return rng.choice([0.0, 0.5, 1.0], len(people))


def contrary(rng: np.random.Generator, people: Array) -> Array:
    """Contradicts people on 80% of the prompts."""
    return np.where(rng.random(len(people)) < 0.8, 1 - people, people)


def unsure(rng: np.random.Generator, people: Array) -> Array:
    """Calls 40% ties and agrees with people on nine of ten others."""
    agreeing = np.where(rng.random(len(people)) < 0.9, people, 1 - people)
    return np.where(rng.random(len(people)) < 0.4, 0.5, agreeing)


JUDGES: dict[str, Judge] = {
    "biased": biased,
    "noisy": noisy,
    "useless": useless,
    "contrary": contrary,
    "unsure": unsure,
}


def prefers_longer(rng: np.random.Generator, people: Array, d: Array) -> Array:
    """Agrees with people on 70% of the prompts and prefers the longer response on the others."""
    return np.where(rng.random(len(people)) < 0.7, people, (d > 0).astype(float))


def no_help(rng: np.random.Generator, people: Array, d: Array) -> Array:
    """Flips a coin."""
    return rng.integers(0, 2, len(people)).astype(float)


SAMPLED_JUDGES: dict[str, Callable[[np.random.Generator, Array, Array], Array]] = {
    "prefers longer": prefers_longer,
    "no help": no_help,
}
LENGTH_JUDGES: dict[str, Callable[[Array], Array]] = {
    "no taste for length": lambda d: np.full(len(d), 0.5),
    "taste of one logit": lambda d: 1 / (1 + np.exp(-np.tanh(d))),
    "strong taste": lambda d: 1 / (1 + np.exp(-4 * d)),
}


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often the intervals cover the truth, and how wide they are."""

    combined: float
    people: float  # people alone on the same prompts
    width: float  # of people with the judge, over that of people alone
    width_uniform: float  # over that of people alone on as many prompts drawn uniformly


def ppi_coverage(
    judge: Judge,
    *,
    repetitions: int,
    seed: int = 0,
    truth: float = 0.6,
    prompts: int = PROMPTS,
    labels: int = LABELS,
    by_uncertainty: bool = True,
) -> Coverage:
    """Coverage of the win rate `truth` by people on some prompts and a judge on all.

    Args:
        judge: the simulated judge.
        repetitions: number of simulated evaluations.
        seed: of all draws.
        truth: probability that people prefer the model's response.
        prompts: number of prompts.
        labels: number of prompts that people are asked about.
        by_uncertainty: whether they are drawn by the judge's uncertainty.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repetitions):
        people = (rng.random(prompts) < truth).astype(float)
        wins = judge(rng, people)
        uncertainty = 4 * wins * (1 - wins) if by_uncertainty else np.zeros(prompts)
        probabilities = sampling_probabilities(uncertainty.tolist(), labels)
        drawn = set(systematic_sample(probabilities, seed=int(rng.integers(2**31))))
        answers = [float(win) if i in drawn else None for i, win in enumerate(people)]
        estimate = prediction_powered_mean(wins.tolist(), answers, probabilities)
        first = people[:labels].tolist() + [None] * (prompts - labels)
        uniform = prediction_powered_mean([0.5] * prompts, first).people
        both, alone = estimate.combined, estimate.people
        widths = [each.high - each.low for each in (both, alone, uniform)]
        rows.append([both.low <= truth <= both.high, alone.low <= truth <= alone.high, *widths])
    combined, alone_, width, width_alone, width_uniform = np.mean(np.array(rows, dtype=float), 0)
    return Coverage(
        combined=float(combined),
        people=float(alone_),
        width=float(width / width_alone),
        width_uniform=float(width / width_uniform),
    )


def sampled_length_coverage(
    judge: Callable[[np.random.Generator, Array, Array], Array],
    *,
    repetitions: int,
    equal_length: bool,
    seed: int = 0,
    labels: int = LABELS,
) -> Coverage:
    """Coverage of the win rate without the effect of length, 0.6, by people on some prompts.

    People have a taste for length of one logit, and responses are 0.3 standard deviations longer.

    Args:
        judge: its wins, given the people's and the differences of lengths.
        repetitions: number of simulated evaluations.
        equal_length: `equal_length_win_rate`, else `length_controlled_win_rate`.
        seed: of all draws.
        labels: number of prompts that people are asked about.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repetitions):
        d = rng.normal(0.3, 1.0, PROMPTS)
        logits = np.log(0.6 / 0.4) + np.tanh(d / d.std(ddof=1))
        people = (rng.random(PROMPTS) < 1 / (1 + np.exp(-logits))).astype(float)
        verdicts = judge(rng, people, d)
        probabilities = sampling_probabilities((4 * verdicts * (1 - verdicts)).tolist(), labels)
        drawn = set(systematic_sample(probabilities, seed=int(rng.integers(2**31))))
        answers = [[win] if i in drawn else None for i, win in enumerate(people.tolist())]
        wins, differences, lengths = (
            [[float(value)] for value in each]
            for each in (verdicts, d, np.exp(rng.normal(7.0, 0.4, PROMPTS)))
        )
        estimate: PredictionPowered
        if equal_length:
            estimate = sampled_equal_length_win_rate(wins, answers, differences, probabilities)
        else:
            estimate = sampled_length_controlled_win_rate(
                wins, answers, differences, lengths, probabilities
            )
        both, alone = estimate.combined, estimate.people
        covered = [each.low <= 0.6 <= each.high for each in (both, alone)]
        rows.append([*covered, both.high - both.low, alone.high - alone.low])
    combined, alone_, width, width_alone = np.mean(np.array(rows, dtype=float), 0)
    ratio = float(width / width_alone)
    return Coverage(
        combined=float(combined), people=float(alone_), width=ratio, width_uniform=ratio
    )


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


@dataclass(frozen=True, kw_only=True)
class LengthCase:
    """Mean estimates of the win rate of two equal models whose responses differ in length."""

    raw: float
    controlled: float  # length_controlled_win_rate
    equal: float  # equal_length_win_rate


def length_case(
    wins_by_length: Callable[[Array], Array], *, longer: float, repetitions: int, seed: int = 0
) -> LengthCase:
    """Estimates with a judge that decides by length, or not at all.

    Args:
        wins_by_length: P(win) for differences in standard deviations.
        longer: how much longer the model's responses are on average, in standard deviations.
        repetitions: evaluations of 400 prompts.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repetitions):
        lengths = np.exp(rng.normal(7.0, 0.4, PROMPTS))
        d = rng.normal(longer, 1.0, PROMPTS)
        wins = (rng.random(PROMPTS) < wins_by_length(d)).astype(float)
        groups = [[[float(value)] for value in each] for each in (wins, d, lengths)]
        rows.append(
            [
                wins.mean(),
                length_controlled_win_rate(*groups, resamples=1).value,
                equal_length_win_rate(*groups[:2], resamples=1).value,
            ]
        )
    raw, controlled, equal = (float(value) for value in np.mean(rows, 0))
    return LengthCase(raw=raw, controlled=controlled, equal=equal)


def main() -> None:
    """Print all coverages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args().repetitions
    print(f"people on {LABELS} of {PROMPTS} prompts and a judge on all; width over people alone")
    for name, judge in JUDGES.items():
        for by_uncertainty in (False, True):
            one = ppi_coverage(judge, repetitions=repetitions, by_uncertainty=by_uncertainty)
            print(
                f"    {name:9} {'by uncertainty' if by_uncertainty else 'uniform':15} "
                f"coverage {one.combined:.3f}, people alone {one.people:.3f}, "
                f"width {one.width:.3f} on the same prompts, {one.width_uniform:.3f} on others"
            )
    for name, sampled in SAMPLED_JUDGES.items():
        for equal_length in (False, True):
            one = sampled_length_coverage(
                sampled, repetitions=repetitions, equal_length=equal_length
            )
            print(
                f"    {name:14} {'at equal length' if equal_length else 'length-controlled':17} "
                f"coverage {one.combined:.3f}, people alone {one.people:.3f}, width {one.width:.3f}"
            )
    for prompts in (6, 10, 20, 50):
        expanded, plain = few_prompts_coverage(prompts, repetitions=repetitions)
        print(f"{prompts} prompts: coverage {expanded:.3f}, plain quantiles {plain:.3f}")
    for prompts in (6, 8, 12, 20):
        print(f"{prompts} prompts: lowest coverage of a strength {strength_coverage(prompts):.3f}")
    for truth in (0.5, 0.6, 0.9):
        betting, plain = anytime_error(truth=truth, labels=1000, repetitions=repetitions)
        print(f"looking 1000 times at {truth}: error {betting:.3f} by betting, {plain:.3f} plainly")
    for labels in (100, 1000):
        ratio = sequence_width(truth=0.6, labels=labels, repetitions=50)
        print(f"after {labels} labels a confidence sequence is {ratio:.2f} times as wide")
    for different in (0, 3):
        share = false_discoveries(parts=12, different=different, repetitions=repetitions)
        print(f"12 parts, {different} of them different: false discoveries {share:.3f}")

    for name, judge_of_length in LENGTH_JUDGES.items():
        for longer in (0.5, 1.0):
            case = length_case(judge_of_length, longer=longer, repetitions=repetitions // 20)
            print(
                f"{name}, {longer} standard deviations longer: win rate {case.raw:.3f}, "
                f"length-controlled {case.controlled:.3f}, at equal length {case.equal:.3f}"
            )


if __name__ == "__main__":
    main()
